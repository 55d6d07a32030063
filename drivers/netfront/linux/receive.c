// SPDX-License-Identifier: GPL-2.0-only
/*
 * The network frontend's receiving side in Linux: NAPI, memory for packets, checksums and
 * segments for the stack, and XDP.
 */
#include <linux/bpf_trace.h>
#include <linux/filter.h>
#include <linux/rtnetlink.h>

#include "linux.h"

#define NETFRONT_COPY 256 /* packets up to this go into the head of an skb, without a page */

/* ---- what the core asks for ---- */

void netfront_port_lock(void *context, unsigned int queue, bool transmit)
{
	struct netfront_info *info = context;

	spin_lock_bh(&info->queue[queue].lock[transmit]);
}

void netfront_port_unlock(void *context, unsigned int queue, bool transmit)
{
	struct netfront_info *info = context;

	spin_unlock_bh(&info->queue[queue].lock[transmit]);
}

void netfront_port_event(void *context, unsigned int queue)
{
	struct netfront_info *info = context;

	/* Does nothing while the interface is down: opening it polls. */
	napi_schedule(&info->queue[queue].napi);
}

/* The skb of the first page, which has `length` bytes of the packet. */
static struct sk_buff *netfront_page_skb(struct netfront_queue *queue, unsigned int headroom,
					 unsigned int length)
{
	struct sk_buff *skb = napi_build_skb(page_address(queue->page), PAGE_SIZE);

	if (!skb) {
		page_pool_recycle_direct(queue->pool, queue->page);
		return NULL;
	}
	skb_reserve(skb, headroom);
	__skb_put(skb, length);
	skb_mark_for_recycle(skb);
	return skb;
}

static void *netfront_first_memory(struct netfront_queue *queue,
				   const struct netfront_packet *packet, uint32_t *size)
{
	queue->skb = NULL;
	if (!queue->prog && *size <= NETFRONT_COPY) {
		queue->skb = napi_alloc_skb(&queue->napi, *size);
		return queue->skb ? __skb_put(queue->skb, *size) : NULL;
	}
	/* Of the time before the program, which might pass it on as it is. */
	if (queue->prog && (*size > NETFRONT_FIRST_PAGE || packet->checksum_blank || packet->gso))
		return NULL;
	queue->page = page_pool_dev_alloc_pages(queue->pool);
	if (!queue->page)
		return NULL;
	*size = min_t(uint32_t, *size, NETFRONT_FIRST_PAGE);
	return page_address(queue->page) + XDP_PACKET_HEADROOM;
}

void *netfront_port_rx_memory(void *context, unsigned int index,
			      const struct netfront_packet *packet, uint32_t offset, uint32_t *size)
{
	struct netfront_info *info = context;
	struct netfront_queue *queue = &info->queue[index];
	struct page *page;
	unsigned int frags;

	if (offset == 0)
		return netfront_first_memory(queue, packet, size);
	if (!queue->skb) {
		queue->skb = netfront_page_skb(queue, XDP_PACKET_HEADROOM, NETFRONT_FIRST_PAGE);
		if (!queue->skb)
			return NULL;
	}
	frags = skb_shinfo(queue->skb)->nr_frags;
	page = frags < MAX_SKB_FRAGS ? page_pool_dev_alloc_pages(queue->pool) : NULL;
	if (!page) {
		dev_kfree_skb_any(queue->skb);
		return NULL;
	}
	*size = min_t(uint32_t, *size, PAGE_SIZE);
	skb_add_rx_frag(queue->skb, frags, page, 0, *size, PAGE_SIZE);
	return page_address(page);
}

/* ---- XDP ---- */

static void netfront_copy_bytes(void *cookie, size_t offset, void *to, size_t size)
{
	memcpy(to, cookie + offset, size);
}

static enum netfront_verdict netfront_send_bytes(struct netfront_info *info, unsigned int queue,
						 void *data, uint32_t length)
{
	const struct netfront_packet packet = { .length = length };

	return netfront_transmit(info->core, queue, &packet, netfront_copy_bytes, data, true);
}

/* True: the packet goes on to the stack. Else its page has a new owner. */
static bool netfront_run_xdp(struct netfront_queue *queue, struct xdp_buff *xdp)
{
	struct netfront_info *info = queue->info;
	u32 verdict = bpf_prog_run_xdp(queue->prog, xdp);

	switch (verdict) {
	case XDP_PASS:
		queue->xdp[NETFRONT_XDP_PASS]++;
		return true;
	case XDP_TX:
		if (netfront_send_bytes(info, queue->index, xdp->data,
					xdp->data_end - xdp->data) != NETFRONT_SENT)
			break;
		queue->sent = true;
		queue->xdp[NETFRONT_XDP_TX]++;
		page_pool_recycle_direct(queue->pool, queue->page); /* it was copied */
		return false;
	case XDP_REDIRECT:
		if (xdp_do_redirect(info->netdev, xdp, queue->prog))
			break;
		queue->redirected = true;
		queue->xdp[NETFRONT_XDP_REDIRECT]++;
		return false;
	case XDP_DROP:
		queue->xdp[NETFRONT_XDP_DROP]++;
		page_pool_recycle_direct(queue->pool, queue->page);
		return false;
	default:
		bpf_warn_invalid_xdp_action(info->netdev, queue->prog, verdict);
		fallthrough;
	case XDP_ABORTED:
		break;
	}
	trace_xdp_exception(info->netdev, queue->prog, verdict);
	queue->xdp[NETFRONT_XDP_ERROR]++;
	page_pool_recycle_direct(queue->pool, queue->page);
	return false;
}

int netfront_xdp_xmit(struct net_device *netdev, int n, struct xdp_frame **frames, u32 flags)
{
	struct netfront_info *info = netdev_priv(netdev);
	unsigned int queue = smp_processor_id() % netdev->real_num_tx_queues;
	int i;

	if (flags & ~XDP_XMIT_FLAGS_MASK)
		return -EINVAL;
	if (!netif_running(netdev) || !netif_carrier_ok(netdev))
		return -ENETDOWN;
	/* What is not sent stays the caller's. */
	for (i = 0; i < n; i++) {
		if (xdp_frame_has_frags(frames[i]) ||
		    netfront_send_bytes(info, queue, frames[i]->data, frames[i]->len) !=
			    NETFRONT_SENT)
			break;
		xdp_return_frame_rx_napi(frames[i]);
	}
	if (flags & XDP_XMIT_FLUSH)
		netfront_flush(info->core, queue);
	return i;
}

int netfront_xdp(struct net_device *netdev, struct netdev_bpf *bpf)
{
	struct netfront_info *info = netdev_priv(netdev);
	struct bpf_prog *old = info->xdp_prog;

	if (bpf->command != XDP_SETUP_PROG)
		return -EINVAL;
	if (bpf->prog && netdev->mtu > NETFRONT_XDP_MTU) {
		NL_SET_ERR_MSG_MOD(bpf->extack, "XDP: the MTU is too large for one page");
		return -EINVAL;
	}
	WRITE_ONCE(info->xdp_prog, bpf->prog);
	if (old)
		bpf_prog_put(old);
	/* The backend has to do without segments and blank checksums, or may use them again. */
	if (!old != !bpf->prog)
		netfront_want(info, NETFRONT_RECONNECT);
	return 0;
}

/* ---- packets for the stack ---- */

/* The stack finds the checksum itself, in the packet as it was copied. False: it is none. */
static bool netfront_describe(struct netfront_queue *queue, struct sk_buff *skb,
			      const struct netfront_packet *packet)
{
	struct net_device *netdev = queue->info->netdev;
	bool gso = packet->gso != NETFRONT_GSO_NONE;

	skb->protocol = eth_type_trans(skb, netdev);
	skb_reset_network_header(skb);
	/* Packets may come before the stack knows of a new connection's queues. */
	if (queue->index < netdev->real_num_rx_queues)
		skb_record_rx_queue(skb, queue->index);
	if (packet->hash_type && (netdev->features & NETIF_F_RXHASH))
		skb_set_hash(skb, packet->hash,
			     packet->hash_type & (NETFRONT_HASH_IPV4_TCP | NETFRONT_HASH_IPV6_TCP)
				     ? PKT_HASH_TYPE_L4 : PKT_HASH_TYPE_L3);
	if (gso) {
		skb_shinfo(skb)->gso_size = packet->gso_size;
		skb_shinfo(skb)->gso_type = SKB_GSO_DODGY | (packet->gso == NETFRONT_GSO_TCP_IPV4
								     ? SKB_GSO_TCPV4
								     : SKB_GSO_TCPV6);
	}
	if (!packet->checksum_blank && !gso) {
		if (packet->checksum_validated && (netdev->features & NETIF_F_RXCSUM))
			skb->ip_summed = CHECKSUM_UNNECESSARY;
		return true;
	}
	/* Segments get their checksums from what their header has, whatever the backend says. */
	skb->ip_summed = CHECKSUM_PARTIAL;
	return !skb_checksum_setup(skb, !packet->checksum_blank);
}

void netfront_port_rx_packet(void *context, unsigned int index,
			     const struct netfront_packet *packet)
{
	struct netfront_info *info = context;
	struct netfront_queue *queue = &info->queue[index];
	struct sk_buff *skb = queue->skb;

	if (!skb) {
		struct xdp_buff xdp;

		xdp_init_buff(&xdp, PAGE_SIZE, &queue->xdp_rxq);
		xdp_prepare_buff(&xdp, page_address(queue->page), XDP_PACKET_HEADROOM,
				 packet->length, true);
		if (queue->prog && !netfront_run_xdp(queue, &xdp))
			return;
		skb = netfront_page_skb(queue, xdp.data - xdp.data_hard_start,
					xdp.data_end - xdp.data);
		if (!skb)
			return;
		if (xdp.data != xdp.data_meta)
			skb_metadata_set(skb, xdp.data - xdp.data_meta);
	}
	if (!netfront_describe(queue, skb, packet)) {
		queue->bad_checksums++;
		dev_kfree_skb_any(skb);
		return;
	}
	__skb_queue_tail(&queue->received, skb);
}

int netfront_napi_poll(struct napi_struct *napi, int budget)
{
	struct netfront_queue *queue = container_of(napi, struct netfront_queue, napi);
	struct netfront_info *info = queue->info;
	struct sk_buff *skb;
	int received;

	queue->prog = READ_ONCE(info->xdp_prog);
	received = netfront_poll(info->core, queue->index, budget);
	if (queue->sent)
		netfront_flush(info->core, queue->index);
	if (queue->redirected)
		xdp_do_flush();
	queue->sent = queue->redirected = false;
	while ((skb = __skb_dequeue(&queue->received)))
		napi_gro_receive(napi, skb);

	if (received < budget && napi_complete_done(napi, received) &&
	    netfront_rearm(info->core, queue->index))
		napi_schedule(napi);
	return received;
}
