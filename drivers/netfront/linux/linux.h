/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What the parts of the network frontend's Linux side share.
 */
#ifndef NETFRONT_LINUX_H
#define NETFRONT_LINUX_H

#include <linux/bpf.h>
#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/if_vlan.h>
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <net/page_pool.h>
#include <net/xdp.h>

#include "../../xenbus/linux/xenbus.h"
#include "netfront.h"
#include "netfront_port.h"

/* Of a received packet, what fits into its first page between headroom and what an skb needs. */
#define NETFRONT_FIRST_PAGE \
	(PAGE_SIZE - XDP_PACKET_HEADROOM - SKB_DATA_ALIGN(sizeof(struct skb_shared_info)))
/* XDP gets packets of one page, each with a VLAN tag perhaps. */
#define NETFRONT_XDP_MTU (NETFRONT_FIRST_PAGE - VLAN_ETH_HLEN)

enum netfront_xdp_counter {
	NETFRONT_XDP_PASS,
	NETFRONT_XDP_DROP,
	NETFRONT_XDP_TX,
	NETFRONT_XDP_REDIRECT,
	NETFRONT_XDP_ERROR,
	NETFRONT_XDP_COUNTERS,
};

struct netfront_queue {
	struct netfront_info *info;
	unsigned int index;
	struct napi_struct napi;
	spinlock_t lock[2];		/* the core's, around its rings */
	struct page_pool *pool;
	struct xdp_rxq_info xdp_rxq;

	/* The poll that runs */
	struct bpf_prog *prog;
	struct page *page;		/* a packet's first, not in an skb yet */
	struct sk_buff *skb;		/* being filled */
	struct sk_buff_head received;
	bool redirected;
	bool sent;
	u64 xdp[NETFRONT_XDP_COUNTERS];
	u64 bad_checksums;
};

enum { NETFRONT_RECONNECT, NETFRONT_REHASH };

struct netfront_info {
	struct net_device *netdev;
	struct netfront *core;
	void *object;			/* the core's memory */
	struct mutex mutex;		/* around the core's functions for threads */
	struct work_struct work;	/* what they are wanted for: */
	unsigned long pending;
	struct delayed_work multicast;
	struct delayed_work announce;
	struct delayed_work retry;
	struct bpf_prog *xdp_prog;	/* changes under the rtnl lock */
	bool connected;
	bool was_connected;
	u32 mtu;			/* the last that the toolstack wished for */
	struct netfront_features features;

	/* Written by ethtool, under the rtnl lock */
	u16 queues;
	u16 tx_buffers;
	u16 rx_buffers;
	u32 tx_frames;
	u32 rx_usecs;
	struct netfront_hash hash;

	/* The multicast filter, as the backend has it; under the mutex */
	bool filter_refused;
	bool filter_on;
	unsigned int filter_count;
	u8 filter[NETFRONT_MULTICAST_MAX][ETH_ALEN];

	unsigned int queues_max;
	struct netfront_queue queue[];
};

extern const struct ethtool_ops netfront_ethtool_ops;
extern const struct attribute_group netfront_attributes;

/* Does what is pending, soon. */
void netfront_want(struct netfront_info *info, int what);

netdev_tx_t netfront_start_xmit(struct sk_buff *skb, struct net_device *netdev);
int netfront_napi_poll(struct napi_struct *napi, int budget);
int netfront_xdp(struct net_device *netdev, struct netdev_bpf *bpf);
int netfront_xdp_xmit(struct net_device *netdev, int n, struct xdp_frame **frames, u32 flags);

void netfront_set_rx_mode(struct net_device *netdev);
void netfront_multicast_work(struct work_struct *work);

#endif
