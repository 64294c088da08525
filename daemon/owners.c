/* Cookie -> worker and namespace, in one word. */
#include "owners.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct ow_row unpack(const struct owners *o, uint64_t value)
{
    return (struct ow_row){.worker = (unsigned)(value & 0xffffffff),
                           .netns = o->netns[value >> 32]};
}

static int netns_number(struct owners *o, uint64_t netns)
{
    uint64_t *more;

    for (size_t i = 0; i < o->n_netns; i++)
        if (o->netns[i] == netns)
            return (int)i;
    if (o->n_netns == OW_NETNS_MAX)
        return -EMFILE;
    more = realloc(o->netns, (o->n_netns + 1) * sizeof(*more));
    if (!more)
        return -ENOMEM;
    o->netns = more;
    o->netns[o->n_netns] = netns;
    return (int)o->n_netns++;
}

int ow_set(struct owners *o, uint64_t cookie, const struct ow_row *row)
{
    int i = cookie ? netns_number(o, row->netns) : -EINVAL;

    return i < 0 ? i : cm_set(&o->map, cookie, (uint64_t)i << 32 | row->worker);
}

int ow_get(const struct owners *o, uint64_t cookie, struct ow_row *row)
{
    const uint64_t *value = cm_get(&o->map, cookie);

    if (!value)
        return 0;
    *row = unpack(o, *value);
    return 1;
}

void ow_drop(struct owners *o, uint64_t cookie)
{
    cm_drop(&o->map, cookie);
}

int ow_next(const struct owners *o, size_t *at, uint64_t *cookie, struct ow_row *row)
{
    uint64_t value;

    if (!cm_next(&o->map, at, cookie, &value))
        return 0;
    *row = unpack(o, value);
    return 1;
}

void ow_free(struct owners *o)
{
    cm_free(&o->map);
    free(o->netns);
    memset(o, 0, sizeof(*o));
}
