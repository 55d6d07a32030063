/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * The network frontend's core as the kernel around it uses it. What it needs from there is
 * netfront_port.h.
 *
 * Functions marked "thread" may sleep, and the caller lets only one of them run at a time for
 * one device. The others never sleep and may run whenever the device exists.
 */
#ifndef NETFRONT_H
#define NETFRONT_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

struct netfront; /* opaque */

enum {
	NETFRONT_PACKET_MAX = 65535, /* bytes of a packet to be sent, Ethernet header included */
	NETFRONT_SEND_SLOTS = 16,    /* pages that such a packet takes */
	NETFRONT_RECEIVE_SLOTS = 19, /* pages of a received packet */
	NETFRONT_BUFFERS_MIN = 32,
	NETFRONT_BUFFERS_MAX = 256, /* each way: slots of a ring */
	NETFRONT_MTU_MIN = 68,
	NETFRONT_MULTICAST_MAX = 64, /* addresses in a backend's filter */
	NETFRONT_HASH_KEY_MAX = 40,
	NETFRONT_HASH_MAPPING_MAX = 128,
};

struct netfront_config {
	const char *nodename; /* own directory in xenstore: "device/vif/0" */
	const char *backend;  /* the backend's directory */
	uint16_t backend_id;  /* the backend's domain */
	uint16_t queues_max;  /* as in netfront_object_size() */
	void *context;        /* handed back to every netfront_port_ function */
};

/* What the kernel would like, of what a backend may offer. */
struct netfront_wishes {
	uint16_t queues;       /* pairs of rings: 1 at least */
	uint16_t tx_buffers;   /* pages of a queue for packets on their way out */
	uint16_t rx_buffers;   /* and in; rounded down to a power of two */
	bool split_events;     /* an event channel for each ring */
	bool receive_gso;      /* TCP packets of up to 64 KiB */
	bool receive_checksum; /* packets without their checksums */
	bool static_grants;    /* the backend keeps the buffers mapped */
};

/* What the backend offered and what was agreed on, for this connection. */
struct netfront_features {
	uint16_t queues;
	uint16_t tx_buffers;
	uint16_t rx_buffers;
	bool split_events;
	bool send_sg;            /* packets of more than a page */
	bool send_checksum_ipv4; /* TCP and UDP without their checksums */
	bool send_checksum_ipv6;
	bool send_gso_ipv4; /* TCP packets that the other side cuts up */
	bool send_gso_ipv6;
	bool receive_gso;
	bool receive_checksum;
	bool multicast_filter; /* netfront_multicast(), netfront_filter_multicast() */
	bool control_ring;     /* without it the following are 0 */
	uint32_t hash_types;   /* in force: NETFRONT_HASH_ */
	uint32_t hash_mapping_max;
	uint32_t static_grants; /* buffers of all queues that the backend keeps mapped */
	uint32_t mtu;           /* the toolstack's wish; 0: none */
	uint32_t mtu_max;
	bool carrier; /* false: the backend's own link is down */
};

enum netfront_gso { NETFRONT_GSO_NONE, NETFRONT_GSO_TCP_IPV4, NETFRONT_GSO_TCP_IPV6 };

/* Kinds of headers that a Toeplitz hash is about. */
enum {
	NETFRONT_HASH_IPV4 = 1 << 0,
	NETFRONT_HASH_IPV4_TCP = 1 << 1,
	NETFRONT_HASH_IPV6 = 1 << 2,
	NETFRONT_HASH_IPV6_TCP = 1 << 3,
};

/* A packet, either way. */
struct netfront_packet {
	uint32_t length;
	bool checksum_blank;     /* its TCP or UDP checksum was left to the other side */
	bool checksum_validated; /* says its sender */
	enum netfront_gso gso;
	uint16_t gso_size;  /* of the payload of each segment */
	uint32_t hash_type; /* of a received packet: one of NETFRONT_HASH_, or 0 for none */
	uint32_t hash;
};

/* How the backend is to spread packets over the queues. */
struct netfront_hash {
	uint32_t types; /* NETFRONT_HASH_; 0: as it likes */
	uint8_t key[NETFRONT_HASH_KEY_MAX];
	uint32_t key_size;
	uint16_t mapping[NETFRONT_HASH_MAPPING_MAX]; /* the queue for a hash modulo mapping_size */
	uint32_t mapping_size; /* 0: the queue is the hash modulo the number of queues */
};

/* Of one queue, since netfront_create(). */
struct netfront_statistics {
	uint64_t tx_packets;
	uint64_t tx_bytes;
	uint64_t tx_errors;        /* refused by the backend */
	uint64_t tx_dropped;       /* no link, of an impossible shape, or lost with a connection */
	uint64_t tx_full;          /* how often there was no room for more */
	uint64_t tx_notifications; /* events sent to the backend */
	uint64_t tx_checksum_blank;
	uint64_t tx_gso;
	uint64_t rx_packets;
	uint64_t rx_bytes;
	uint64_t rx_errors;  /* damaged: no header, failed by the backend */
	uint64_t rx_dropped; /* no memory here */
	uint64_t rx_notifications;
	uint64_t rx_checksum_blank;
	uint64_t rx_gso;
	uint64_t rx_chains; /* packets of several slots */
	uint64_t events;    /* that came from the backend */
};

enum netfront_verdict {
	NETFRONT_SENT,    /* copied and queued */
	NETFRONT_FULL,    /* try again after netfront_port_tx_room() */
	NETFRONT_DROPPED, /* will never be sent; counted */
};

/* What netfront_create() needs for a device of so many queues: zeroed memory, aligned to 16
 * bytes. */
size_t netfront_object_size(unsigned int queues_max);

/* Makes a device in `memory`, reads its MAC address into mac[6] and announces the frontend.
 * Returns 0 or a negative errno; then there is nothing to remove. Thread. */
int netfront_create(void *memory, const struct netfront_config *config, uint8_t *mac,
		    struct netfront **device);

/* The state of the backend, as a number of public/io/xenbus.h. Call it once after creation, and
 * on each change. Thread. */
void netfront_backend_changed(struct netfront *device, unsigned int state);

/* Answers netfront_port_wake(). Thread. */
void netfront_work(struct netfront *device);

/* Answers netfront_port_retry_later(). Thread. */
void netfront_retry(struct netfront *device);

/* The wishes have changed: leaves the backend and connects anew, if it is connected. Returns at
 * once; packets on their way are lost. Thread. */
void netfront_reconnect(struct netfront *device);

/* netfront_port_hash() has something else to say. Thread. */
void netfront_hash_changed(struct netfront *device);

/* Whether the backend sends only those multicast packets whose addresses it was given by
 * netfront_multicast(). A new connection begins with false. Returns 0 or a negative errno. Thread.
 */
int netfront_filter_multicast(struct netfront *device, bool on);

/* The domain was restored, and has another backend: connects anew. Packets on their way are lost.
 * An empty `backend` is not known yet: waits for the next call. Thread. */
void netfront_restored(struct netfront *device, const char *backend, uint16_t backend_id);

/* Ends the device whatever its state, without waiting for the backend. From then on the core calls
 * nothing by itself, and late calls of its functions are harmless until the memory is freed.
 * Thread. */
void netfront_remove(struct netfront *device);

/* Sends one packet. It is copied before the function returns: copy(cookie, offset, to, size) is
 * called for successive parts of it. If `more` follow at once (each of which ends with
 * netfront_transmit() or netfront_flush()), the backend need not be told yet. */
enum netfront_verdict netfront_transmit(struct netfront *device, unsigned int queue,
					const struct netfront_packet *packet,
					void (*copy)(void *cookie, size_t offset, void *to,
						     size_t size),
					void *cookie, bool more);

/* Tells the backend what it was not told yet. */
void netfront_flush(struct netfront *device, unsigned int queue);

/* Puts an address into the backend's filter, or takes it out. An address that is put there twice
 * has to be taken out twice. */
enum netfront_verdict netfront_multicast(struct netfront *device, const uint8_t *mac, bool add);

/* Takes what the backend completed: all sent packets and at most `budget` received ones. Returns
 * how many were received. Never entered twice at once for a queue. */
unsigned int netfront_poll(struct netfront *device, unsigned int queue, unsigned int budget);

/* Call when a poll received less than its budget: from now on netfront_port_event() reports the
 * next completion. True: there is one already, poll again. */
bool netfront_rearm(struct netfront *device, unsigned int queue);

/* From the next rearm on: an event for so many completed packets at most (fewer, if fewer are on
 * their way), and after an event none for so long. */
void netfront_set_coalesce(struct netfront *device, unsigned int tx_frames, uint32_t pause_ns);

/* False: there is no such queue. */
bool netfront_get_statistics(struct netfront *device, unsigned int queue,
			     struct netfront_statistics *statistics);

#ifdef __cplusplus
}
#endif

#endif
