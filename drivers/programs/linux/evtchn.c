// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/xen/evtchn: event channels for programs, as libxenevtchn uses it.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/miscdevice.h>
#include <linux/mutex.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include <xen/xen.h>
#include "../core/evtchn.h"
#include "programs.h"

/* uapi/xen/evtchn.h: each takes up to two numbers. */
#define IOCTL(number, words) _IOC(_IOC_NONE, 'E', number, (words) * sizeof(u32))
#define BIND_INTERDOMAIN IOCTL(1, 2) /* domain, its port */
#define BIND_UNBOUND IOCTL(2, 1) /* domain */
#define UNBIND IOCTL(3, 1) /* port, as for the next */
#define NOTIFY IOCTL(4, 1)

struct session {
	struct mutex lock;
	wait_queue_head_t wait;
	struct file *file;
	struct xen_evtchn *core;
	u64 memory[];
};

void xen_evtchn_port_wake(void *context)
{
	struct session *session = context;

	wake_up_interruptible(&session->wait);
}

/* Maybe after the last close() of it, and before its release. */
int xen_evtchn_port_hold(void *context)
{
	struct session *session = context;

	return get_file_rcu(session->file);
}

void xen_evtchn_port_put(void *context)
{
	struct session *session = context;

	fput(session->file);
}

static int evtchn_open(struct inode *inode, struct file *file)
{
	struct session *session = kvzalloc(sizeof(*session) + xen_evtchn_size(), GFP_KERNEL_ACCOUNT);

	if (!session)
		return -ENOMEM;
	mutex_init(&session->lock);
	init_waitqueue_head(&session->wait);
	session->file = file;
	session->core = xen_evtchn_open(session->memory, session);
	file->private_data = session;
	return stream_open(inode, file);
}

static int evtchn_release(struct inode *inode, struct file *file)
{
	struct session *session = file->private_data;

	down_read(&xen_programs_running);
	xen_evtchn_close(session->core);
	up_read(&xen_programs_running);
	kvfree(session);
	return 0;
}

static int carry_out(struct xen_evtchn *core, unsigned int command, const u32 *words)
{
	switch (command) {
	case BIND_INTERDOMAIN:
		return words[1] ? xen_evtchn_bind(core, words[0], words[1]) : -EINVAL;
	case BIND_UNBOUND:
		return xen_evtchn_bind(core, words[0], 0);
	case UNBIND:
		return xen_evtchn_unbind(core, words[0]);
	case NOTIFY:
		return xen_evtchn_notify(core, words[0]);
	default:
		return -ENOTTY;
	}
}

static long evtchn_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct session *session = file->private_data;
	u32 words[2] = {};
	int rc;

	if (_IOC_SIZE(command) > sizeof(words))
		return -ENOTTY;
	if (copy_from_user(words, (void __user *)argument, _IOC_SIZE(command)))
		return -EFAULT;
	down_read(&xen_programs_running);
	mutex_lock(&session->lock);
	rc = carry_out(session->core, command, words);
	mutex_unlock(&session->lock);
	up_read(&xen_programs_running);
	return rc;
}

static ssize_t evtchn_read(struct file *file, char __user *data, size_t size, loff_t *pos)
{
	struct session *session = file->private_data;
	unsigned int most = min_t(size_t, size / sizeof(u32), XEN_EVTCHN_PORTS);
	u32 ports[XEN_EVTCHN_PORTS];
	int count = 0;

	while (most) {
		mutex_lock(&session->lock);
		count = xen_evtchn_read(session->core, ports, most);
		mutex_unlock(&session->lock);
		if (count)
			break;
		if (file->f_flags & O_NONBLOCK)
			return -EAGAIN;
		if (wait_event_interruptible(session->wait, xen_evtchn_readable(session->core)))
			return -ERESTARTSYS;
	}
	if (count > 0 && copy_to_user(data, ports, count * sizeof(u32)))
		return -EFAULT;
	return count > 0 ? count * sizeof(u32) : count;
}

static ssize_t evtchn_write(struct file *file, const char __user *data, size_t size, loff_t *pos)
{
	struct session *session = file->private_data;
	unsigned int count = min_t(size_t, size / sizeof(u32), XEN_EVTCHN_PORTS);
	u32 ports[XEN_EVTCHN_PORTS];
	int rc;

	if (copy_from_user(ports, data, count * sizeof(u32)))
		return -EFAULT;
	mutex_lock(&session->lock);
	rc = xen_evtchn_unmask(session->core, ports, count);
	mutex_unlock(&session->lock);
	return rc ?: count * sizeof(u32);
}

static __poll_t evtchn_poll(struct file *file, poll_table *wait)
{
	struct session *session = file->private_data;
	int readable;

	poll_wait(file, &session->wait, wait);
	readable = xen_evtchn_readable(session->core);
	return EPOLLOUT | EPOLLWRNORM | (readable ? EPOLLIN | EPOLLRDNORM : 0) |
	       (readable < 0 ? EPOLLERR : 0);
}

static const struct file_operations evtchn_operations = {
	.owner = THIS_MODULE,
	.open = evtchn_open,
	.release = evtchn_release,
	.unlocked_ioctl = evtchn_ioctl,
	.read = evtchn_read,
	.write = evtchn_write,
	.poll = evtchn_poll,
	.llseek = no_llseek,
};

static struct miscdevice evtchn_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "xen/evtchn",
	.fops = &evtchn_operations,
};

static int __init start_evtchn(void)
{
	return xen_domain() ? misc_register(&evtchn_device) : 0;
}
device_initcall(start_evtchn);
