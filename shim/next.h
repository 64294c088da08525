/* The next definition of a libc function behind this library, bound when it is first used. */
#ifndef HTLS_NEXT_H
#define HTLS_NEXT_H

/* dlsym(RTLD_NEXT); NULL when libc has no such function. */
void *nx_find(const char *name);

/* The function of that name behind us. Each use has its own cache: one relaxed load when it is
 * warm. Binding all at once at load time would disturb debuggers and cost every program that never
 * comes here. */
#define NX(name)                                                                                   \
    ({                                                                                             \
        static __typeof__(&(name)) found_;                                                         \
        __typeof__(&(name)) f_ = __atomic_load_n(&found_, __ATOMIC_RELAXED);                       \
        if (!f_) {                                                                                 \
            f_ = (__typeof__(&(name)))nx_find(#name);                                              \
            __atomic_store_n(&found_, f_, __ATOMIC_RELAXED);                                       \
        }                                                                                          \
        f_;                                                                                        \
    })

#endif
