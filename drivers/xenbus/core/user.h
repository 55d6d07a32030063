/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * xenstore for programs of the guest's: each that opens /dev/xen/xenbus writes requests and reads replies
 * and watch events, as xenstored's own socket has them (public/io/xs_wire.h, docs/misc/xenstore.txt).
 * What a program leaves behind when it closes the file is undone. Paths and tokens of watches have 255
 * characters at most.
 */
#ifndef XENBUS_USER_H
#define XENBUS_USER_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stddef.h>
#include <stdint.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

struct xenbus_user;

/* Bytes of one, to be aligned to 8 and zeroed. */
size_t xenbus_user_size(void);
struct xenbus_user *xenbus_user_open(void *memory, void *context);

/* Takes bytes of requests, and carries each out when all of it is there; a call for all that the program
 * writes at once. How many it took, or if that is none a negative errno: -EINVAL, no request is so long;
 * -EAGAIN, what the program was told is to be read first; -EIO, xenstored gave no answer; -EFAULT. A
 * request that fails is dropped with what follows; if others of this call were carried out before, it is
 * the next call that fails. Sleeps. One call at a time for each. */
long xenbus_user_write(struct xenbus_user *user, const char *data, size_t length);

/* Whether a request's reply has room among what the program has yet to read. Never sleeps. */
int xenbus_user_writable(struct xenbus_user *user);

/* Gives at most `size` bytes, 0 if there are none. One call at a time for each. */
size_t xenbus_user_read(struct xenbus_user *user, char *to, size_t size);
int xenbus_user_readable(struct xenbus_user *user);

/* Ends its watches and transactions; if xenstored does not answer, it is told when another program ends, or
 * needs the room. No call is going on, none follows, and the memory is the caller's
 * again. Sleeps. */
void xenbus_user_close(struct xenbus_user *user);

/* ---- the kernel ---- */

/* Copies of what the program gave to xenbus_user_write(). Not 0: it is not to be had. Sleeps. */
int xenbus_user_port_copy(void *to, const char *from, size_t length);

/* There is something to read. */
void xenbus_user_port_wake(void *context);

#ifdef __cplusplus
}
#endif

#endif
