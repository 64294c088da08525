/* Whose handshake may run. */
#include "turns.h"

#include <stddef.h>
#include <string.h>

int tn_open(struct turns *t, unsigned most)
{
    memset(t, 0, sizeof(*t));
    t->end = &t->first;
    t->most = most;
    return ce_open(&t->by_uid, 1);
}

void tn_close(struct turns *t)
{
    ce_free(&t->by_uid);
}

void tn_wait(struct turns *t, struct turn *turn, uint32_t uid)
{
    turn->next = NULL;
    turn->uid = uid;
    *t->end = turn;
    t->end = &turn->next;
}

void tn_leave(struct turns *t, struct turn *turn)
{
    struct turn **p = &t->first;

    while (*p && *p != turn)
        p = &(*p)->next;
    if (!*p)
        return;
    *p = turn->next;
    if (t->end == &turn->next)
        t->end = p;
}

struct turn *tn_next(struct turns *t)
{
    unsigned share = t->most - t->most / 4;
    struct turn *turn = t->running < t->most ? t->first : NULL;

    while (turn &&
           (ce_uid(&t->by_uid, turn->uid) >= share || ce_enter(&t->by_uid, 0, turn->uid) < 0))
        turn = turn->next;
    if (turn) {
        tn_leave(t, turn);
        t->running++;
    }
    return turn;
}

void tn_done(struct turns *t, const struct turn *turn)
{
    t->running--;
    ce_leave(&t->by_uid, 0, turn->uid);
}
