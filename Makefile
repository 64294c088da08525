# Builds htls: `make help` lists the targets. Variables of interest: PREFIX, DESTDIR, CFLAGS, V=1, B=folder.
VERSION := 0.1.0
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system
B ?= build
CC ?= cc
CLANG ?= clang
PKG_CONFIG ?= pkg-config
Q := $(if $(filter 1,$(V)),,@)
say = $(if $(filter 1,$(V)),,@printf '  %-7s %s\n' '$(1)' '$(2)')

WARN := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Wvla -Wconversion \
	-Wformat=2 -Wwrite-strings -Wpointer-arith -Werror
CFLAGS ?= -O2 -g
HARDEN := $(if $(SAN),,-fstack-protector-strong -D_FORTIFY_SOURCE=2)
# Expanded only by rules that compile, so that `make clean` needs no library.
LIBS = $(shell $(PKG_CONFIG) --libs libssl libcrypto liburing libnl-3.0 inih libcap-ng)
INCS = $(shell $(PKG_CONFIG) --cflags libssl liburing libnl-3.0 inih libcap-ng)
INCS := $(INCS)
ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE -DHTLS_VERSION='"$(VERSION)"' -fPIC $(WARN) $(HARDEN) $(INCS) \
	$(CFLAGS) $(SAN) -MMD -MP
LINK = $(CC) $(CFLAGS) $(SAN) -Wl,-z,relro,-z,now,--as-needed $(LDFLAGS)

obj = $(patsubst %.c,$(B)/obj/%.o,$(1))
PROTO := $(wildcard proto/*.c)
DAEMON := $(wildcard daemon/*.c)
CLI := $(wildcard shim/htls_cli.c shim/cli_*.c)
# Only the library; only the preload shim; what both are made of is the rest of shim/.
LIBRARY := $(wildcard shim/api*.c shim/sys_libc.c)
PRELOAD := $(wildcard shim/preload*.c shim/next.c shim/upgrade.c shim/fdstate.c shim/gate.c shim/hidden.c \
	shim/sockopt.c shim/swap.c shim/wait.c shim/io.c shim/life.c \
	shim/pending.c shim/stream.c)
BOTH := $(filter-out $(CLI) $(LIBRARY) $(PRELOAD),$(wildcard shim/*.c))

TESTS := $(wildcard tests/unit/*.c)
# A test includes the source it tests; the rest is linked, but for what would define libc's own names.
INCLUDED := $(patsubst ../../%,%,$(shell sed -n 's/^\#include "\(..\/..\/[a-z]*\/[a-z_0-9]*\.c\)"/\1/p' $(TESTS)))
TESTED := $(filter-out $(INCLUDED) daemon/main.c shim/htls_cli.c shim/preload%.c shim/next.c,\
	$(PROTO) $(DAEMON) $(CLI) $(LIBRARY) $(PRELOAD) $(BOTH))

PRODUCTS := $(addprefix $(B)/,htlsd htls libhtls.so.1 libhtls-preload.so)
HELPERS := $(patsubst tests/int/%.c,$(B)/tests/%,$(wildcard tests/int/*.c))

.PHONY: all check lint asan fuzz install clean help helpers
all: $(PRODUCTS)
helpers: $(HELPERS)

$(B)/obj/%.o: %.c
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(EXTRA) -c $< -o $@
$(call obj,$(BOTH) $(LIBRARY)): EXTRA := -fvisibility=hidden
# The shim defines the very functions that fortified headers turn into macros.
$(call obj,$(PRELOAD)): EXTRA := -fvisibility=hidden -U_FORTIFY_SOURCE

$(B)/htlsd: $(call obj,$(DAEMON) $(PROTO))
	$(call say,LINK,$@)
	$(Q)$(LINK) -pie $^ -o $@ $(LIBS)
$(B)/htls: $(call obj,$(CLI) $(PROTO))
	$(call say,LINK,$@)
	$(Q)$(LINK) -pie $^ -o $@
$(B)/libhtls.so.1: $(call obj,$(LIBRARY) $(BOTH) $(PROTO)) shim/libhtls.map
	$(call say,LINK,$@)
	$(Q)$(LINK) -shared -Wl,-soname,libhtls.so.1,--version-script=shim/libhtls.map $(filter %.o,$^) -o $@
	$(Q)ln -sf libhtls.so.1 $(B)/libhtls.so
$(B)/libhtls-preload.so: $(call obj,$(PRELOAD) $(BOTH) $(PROTO)) shim/libhtls-preload.map
	$(call say,LINK,$@)
	$(Q)$(LINK) -shared -Wl,--version-script=shim/libhtls-preload.map $(filter %.o,$^) -o $@ -ldl

# Programs that the integration tests run, some are clients of libhtls. Each is one file, and what is named here.
anypeer_NEEDS := $(wildcard tests/int/anypeer/*.c) daemon/record.c daemon/keysched.c daemon/keylog.c
seqprog_NEEDS := tests/int/anypeer/schedule.c
.SECONDEXPANSION:
$(B)/tests/%: tests/int/%.c $$(call obj,$$($$*_NEEDS)) $(PRODUCTS)
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -Ishim $< $(filter %.o,$^) -o $@ -L$(B) -Wl,--as-needed -lhtls -lssl -lcrypto \
		-lpthread -Wl,-rpath,$(abspath $(B))

# What scripts/bench compares with: no htls in it.
$(B)/bench/%: scripts/bench.d/%.c
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $< -o $@ -lssl -lcrypto

$(B)/unit: $(call obj,$(TESTS) $(TESTED))
	$(call say,LINK,$@)
	$(Q)$(LINK) $^ -o $@ -lcunit $(LIBS) -lpthread -ldl
check: $(B)/unit
	$(Q)# Not on our own descriptors: where these are sockets, tests of descriptors would count them.
	$(Q)HTLS_TREE=$(CURDIR) $(B)/unit </dev/null >$(B)/unit.log 2>&1; status=$$?; cat $(B)/unit.log; exit $$status

asan:
	$(Q)$(MAKE) --no-print-directory B=$(B)/asan SAN='-fsanitize=address,undefined -fno-sanitize-recover=all' \
		CFLAGS='-O1 -g -fno-omit-frame-pointer' all check helpers

lint: all
	$(Q)scripts/lint

# FUZZ_SECONDS for each harness; a corpus lies beside it and grows in $(B).
FUZZ_SECONDS ?= 60
FUZZERS := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
# A harness includes its .c; what that needs besides.
fuzz_record_NEEDS := daemon/keysched.c
fuzz_options_NEEDS := $(filter-out daemon/options_file.c,$(wildcard daemon/options*.c)) daemon/log.c
fuzz: $(addprefix $(B)/fuzz/,$(FUZZERS))
	$(Q)set -e; for f in $(FUZZERS); do corpus=tests/fuzz/corpus/$${f#fuzz_}; \
		mkdir -p $(B)/fuzz/corpus/$$f; [ -d $$corpus ] || corpus=; \
		echo "  FUZZ    $$f, $(FUZZ_SECONDS) s"; \
		$(B)/fuzz/$$f -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 -timeout=10 \
			-artifact_prefix=$(B)/fuzz/ $(B)/fuzz/corpus/$$f $$corpus >$(B)/fuzz/$$f.log 2>&1 || \
			{ cat $(B)/fuzz/$$f.log; exit 1; }; \
		sed -n 's/^stat::number_of_executed_units: */          executions: /p' $(B)/fuzz/$$f.log; done
$(B)/fuzz/%: tests/fuzz/%.c $$($$*_NEEDS)
	$(call say,FUZZCC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) -std=gnu11 -D_GNU_SOURCE -DHTLS_VERSION='"$(VERSION)"' -O1 -g $(INCS) \
		-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all $< $($*_NEEDS) -o $@ $(LIBS)

D = $(DESTDIR)$(PREFIX)
install: all $(B)/htls.pc
	install -d $(D)/sbin $(D)/bin $(D)/lib/pkgconfig $(D)/include $(D)/share/man/man1 $(D)/share/man/man3 \
		$(D)/share/man/man5 $(D)/share/man/man7 $(D)/share/man/man8 $(DESTDIR)$(UNITDIR) $(DESTDIR)$(SYSCONFDIR)/htls
	install -m755 $(B)/htlsd $(D)/sbin/
	install -m755 $(B)/htls $(D)/bin/
	install -m755 $(B)/libhtls.so.1 $(B)/libhtls-preload.so $(D)/lib/
	ln -sf libhtls.so.1 $(D)/lib/libhtls.so
	install -m644 shim/htls.h shim/htls_sockopt.h $(D)/include/
	install -m644 $(B)/htls.pc $(D)/lib/pkgconfig/
	install -m644 shim/htls.1 $(D)/share/man/man1/
	install -m644 shim/libhtls.3 $(D)/share/man/man3/
	install -m644 daemon/htls.conf.5 $(D)/share/man/man5/
	install -m644 shim/htls-preload.7 $(D)/share/man/man7/
	install -m644 daemon/htlsd.8 $(D)/share/man/man8/
	sed 's,/usr/local/sbin,$(PREFIX)/sbin,' daemon/htlsd.service >$(DESTDIR)$(UNITDIR)/htlsd.service
	install -m644 daemon/htlsd.socket $(DESTDIR)$(UNITDIR)/
	[ -e $(DESTDIR)$(SYSCONFDIR)/htls/htls.conf ] || \
		install -m644 daemon/htls.conf $(DESTDIR)$(SYSCONFDIR)/htls/
$(B)/htls.pc: Makefile
	$(Q)mkdir -p $(B)
	$(Q)printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$${prefix}/lib' 'includedir=$${prefix}/include' '' 'Name: htls' \
		'Description: TLS for connected sockets, in the kernel where it can be' 'Version: $(VERSION)' \
		'Libs: -L$${libdir} -lhtls' 'Cflags: -I$${includedir}' >$@

clean:
	rm -rf $(B)
help:
	@printf '%s\n' 'all (default)  daemon, command, library, shim, into $(B)/' 'check          unit tests, seconds, no root' \
		'lint           style, clang-tidy, cppcheck, shellcheck' 'asan           all of it and the unit tests with ASan, UBSan' \
		'fuzz           FUZZ_SECONDS=60 for each decoder' 'install        DESTDIR, PREFIX=$(PREFIX), SYSCONFDIR, UNITDIR' \
		'clean          removes $(B)/' 'scripts/test runs everything, kernels included.'

-include $(shell find $(B)/obj $(B)/tests -name '*.d' 2>/dev/null)
