// SPDX-License-Identifier: GPL-2.0-only
/*
 * The network frontend's transmitting side in Linux: packets for the core, byte queue limits.
 */
#include "linux.h"

void netfront_port_tx_full(void *context, unsigned int queue)
{
	struct netfront_info *info = context;

	netif_stop_subqueue(info->netdev, queue);
}

void netfront_port_tx_room(void *context, unsigned int queue)
{
	struct netfront_info *info = context;

	netif_wake_subqueue(info->netdev, queue);
}

bool netfront_port_tx_queued(void *context, unsigned int queue, uint32_t bytes, bool more)
{
	struct netfront_info *info = context;

	return __netdev_tx_sent_queue(netdev_get_tx_queue(info->netdev, queue), bytes, more);
}

bool netfront_port_tx_waits(void *context, unsigned int queue)
{
	struct netfront_info *info = context;

	return netif_xmit_stopped(netdev_get_tx_queue(info->netdev, queue));
}

void netfront_port_tx_completed(void *context, unsigned int queue, unsigned int packets,
				unsigned int bytes)
{
	struct netfront_info *info = context;

	netdev_tx_completed_queue(netdev_get_tx_queue(info->netdev, queue), packets, bytes);
}

static void netfront_copy_skb(void *cookie, size_t offset, void *to, size_t size)
{
	skb_copy_bits(cookie, offset, to, size);
}

netdev_tx_t netfront_start_xmit(struct sk_buff *skb, struct net_device *netdev)
{
	struct netfront_info *info = netdev_priv(netdev);
	struct netfront_packet packet = {
		.length = skb->len,
		.checksum_blank = skb->ip_summed == CHECKSUM_PARTIAL,
		.checksum_validated = skb->ip_summed == CHECKSUM_UNNECESSARY,
	};

	if (skb_is_gso(skb)) {
		packet.gso = skb_shinfo(skb)->gso_type & SKB_GSO_TCPV4 ? NETFRONT_GSO_TCP_IPV4
								       : NETFRONT_GSO_TCP_IPV6;
		packet.gso_size = skb_shinfo(skb)->gso_size;
	}
	switch (netfront_transmit(info->core, skb_get_queue_mapping(skb), &packet,
				  netfront_copy_skb, skb, netdev_xmit_more())) {
	case NETFRONT_FULL:
		return NETDEV_TX_BUSY;
	case NETFRONT_SENT:
		skb_tx_timestamp(skb);
		dev_consume_skb_any(skb);
		break;
	case NETFRONT_DROPPED:
		dev_kfree_skb_any(skb);
		break;
	}
	return NETDEV_TX_OK;
}
