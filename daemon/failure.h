/* Why a connection failed, as it goes into the log and into an ERROR message. */
#ifndef HTLS_FAILURE_H
#define HTLS_FAILURE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

#include "../proto/wire.h"

struct failure {
    unsigned code;   /* enum w_code, 0 = none */
    int err;         /* positive errno */
    int alert;       /* TLS alert, -1 = none */
    bool alert_sent; /* by us */
    long verify;     /* X509_V_ERR_, 0 = none */
    char text[384];
};

/* Keeps the first reason: what follows a failure is seldom its cause. Returns -err. */
__attribute__((format(printf, 4, 5))) static inline int fl_set(struct failure *f, unsigned code,
                                                               int err, const char *format, ...)
{
    va_list ap;

    if (f->code)
        return -f->err;
    f->code = code;
    f->err = err;
    va_start(ap, format);
    vsnprintf(f->text, sizeof(f->text), format, ap);
    va_end(ap);
    return -err;
}

#endif
