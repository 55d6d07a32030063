// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/xen/xenbus: xenstore for programs, as Debian's xenstore-utils and libxenstore use it in a guest.
 */
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include "../core/user.h"
#include "port.h"

#define CHUNK 512 /* of what is read at once */

struct session {
	struct mutex writing, reading;
	wait_queue_head_t wait;
	struct xenbus_user *user;
	u64 memory[];
};

void xenbus_user_port_wake(void *context)
{
	struct session *session = context;

	wake_up_interruptible(&session->wait);
}

int xenbus_user_port_copy(void *to, const char *from, size_t length)
{
	return copy_from_user(to, (const char __force __user *)from, length) ? -EFAULT : 0;
}

static int user_open(struct inode *inode, struct file *file)
{
	struct session *session = kvzalloc(sizeof(*session) + xenbus_user_size(), GFP_KERNEL);

	if (!session)
		return -ENOMEM;
	mutex_init(&session->writing);
	mutex_init(&session->reading);
	init_waitqueue_head(&session->wait);
	session->user = xenbus_user_open(session->memory, session);
	file->private_data = session;
	return stream_open(inode, file);
}

static int user_release(struct inode *inode, struct file *file)
{
	struct session *session = file->private_data;

	xenbus_user_close(session->user);
	kvfree(session);
	return 0;
}

static ssize_t user_write(struct file *file, const char __user *data, size_t size, loff_t *pos)
{
	struct session *session = file->private_data;
	long rc;

	if (mutex_lock_interruptible(&session->writing))
		return -EINTR;
	do {
		rc = xenbus_user_write(session->user, (const char __force *)data, size);
		if (rc != -EAGAIN || file->f_flags & O_NONBLOCK)
			break;
		rc = wait_event_interruptible(session->wait, xenbus_user_writable(session->user));
	} while (!rc);
	mutex_unlock(&session->writing);
	return rc;
}

static ssize_t user_read(struct file *file, char __user *data, size_t size, loff_t *pos)
{
	struct session *session = file->private_data;
	char chunk[CHUNK];
	size_t done = 0, part;

	if (mutex_lock_interruptible(&session->reading))
		return -EINTR;
	while (done < size) {
		part = xenbus_user_read(session->user, chunk, min_t(size_t, size - done, CHUNK));
		if (!part) {
			if (done || file->f_flags & O_NONBLOCK ||
			    wait_event_interruptible(session->wait,
						     xenbus_user_readable(session->user)))
				break;
			continue;
		}
		if (copy_to_user(data + done, chunk, part))
			break;
		done += part;
	}
	mutex_unlock(&session->reading);
	wake_up_interruptible(&session->wait); /* there is room now, for who writes */
	if (done || !size)
		return done;
	return signal_pending(current) ? -EINTR : file->f_flags & O_NONBLOCK ? -EAGAIN : -EFAULT;
}

static __poll_t user_poll(struct file *file, poll_table *wait)
{
	struct session *session = file->private_data;

	poll_wait(file, &session->wait, wait);
	return (xenbus_user_writable(session->user) ? EPOLLOUT | EPOLLWRNORM : 0) |
	       (xenbus_user_readable(session->user) ? EPOLLIN | EPOLLRDNORM : 0);
}

static const struct file_operations user_operations = {
	.owner = THIS_MODULE,
	.open = user_open,
	.release = user_release,
	.write = user_write,
	.read = user_read,
	.poll = user_poll,
	.llseek = no_llseek,
};

static struct miscdevice user_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "xen/xenbus",
	.fops = &user_operations,
};

static int __init start_user(void)
{
	return xenbus_store_ready ? misc_register(&user_device) : 0;
}
device_initcall(start_user);
