// SPDX-License-Identifier: GPL-2.0-only
/*
 * The network frontend as a Linux network device: its life on the xen bus, and its connection.
 * Negotiation, rings and checks are in core/.
 */
#include <linux/module.h>
#include <linux/rtnetlink.h>

#include "linux.h"

static unsigned int netfront_max_queues;
module_param_named(max_queues, netfront_max_queues, uint, 0644);
MODULE_PARM_DESC(max_queues,
		 "Queues of an interface at most (default: one for each processor, up to 8)");

#define NETFRONT_BACKEND_FEATURES (NETIF_F_IP_CSUM | NETIF_F_IPV6_CSUM | NETIF_F_TSO | NETIF_F_TSO6)
#define NETFRONT_OWN_FEATURES \
	(NETIF_F_SG | NETIF_F_FRAGLIST | NETIF_F_RXCSUM | NETIF_F_GRO_HW | NETIF_F_RXHASH)

/* ---- what the core asks for: the connection ---- */

void netfront_want(struct netfront_info *info, int what)
{
	set_bit(what, &info->pending);
	schedule_work(&info->work);
}

void netfront_port_wishes(void *context, struct netfront_wishes *wishes)
{
	struct netfront_info *info = context;

	wishes->queues = READ_ONCE(info->queues);
	wishes->tx_buffers = READ_ONCE(info->tx_buffers);
	wishes->rx_buffers = READ_ONCE(info->rx_buffers);
	wishes->split_events = true;
	wishes->static_grants = true;
	/* XDP programs see packets of one page, and may pass them on as they are. */
	wishes->receive_gso = !info->xdp_prog && (info->netdev->features & NETIF_F_GRO_HW);
	wishes->receive_checksum = !info->xdp_prog && (info->netdev->features & NETIF_F_RXCSUM);
}

void netfront_port_hash(void *context, struct netfront_hash *hash)
{
	struct netfront_info *info = context;

	*hash = info->hash;
}

static void netfront_apply_mtu(struct netfront_info *info, const struct netfront_features *features)
{
	struct net_device *netdev = info->netdev;

	netdev->max_mtu = features->mtu_max;
	if (netdev->mtu > netdev->max_mtu)
		dev_set_mtu(netdev, netdev->max_mtu);
	/* A new wish of the toolstack's; the same one again leaves alone what was set here. */
	if (features->mtu && features->mtu != info->mtu)
		dev_set_mtu(netdev, features->mtu);
	info->mtu = features->mtu;
}

void netfront_port_connected(void *context, const struct netfront_features *features)
{
	struct netfront_info *info = context;
	struct net_device *netdev = info->netdev;
	bool again = info->connected;

	rtnl_lock();
	info->features = *features;
	if (!again) {
		netif_set_real_num_tx_queues(netdev, features->queues);
		netif_set_real_num_rx_queues(netdev, features->queues);
	}
	netfront_apply_mtu(info, features);
	netdev_update_features(netdev);
	rtnl_unlock();

	if (features->carrier)
		netif_carrier_on(netdev);
	else
		netif_carrier_off(netdev);
	if (again)
		return;
	info->connected = true;
	netif_tx_wake_all_queues(netdev);
	info->filter_count = 0;
	info->filter_on = info->filter_refused = false;
	schedule_delayed_work(&info->multicast, 0);
	/* The other side may be another one now. What is sent before the stack has seen the carrier
	 * would be lost.
	 */
	if (info->was_connected)
		schedule_delayed_work(&info->announce, HZ / 5);
	info->was_connected = true;
}

static void netfront_announce_work(struct work_struct *work)
{
	struct netfront_info *info = container_of(to_delayed_work(work), struct netfront_info,
						  announce);

	netdev_notify_peers(info->netdev); /* by ARP and ND */
}

void netfront_port_disconnected(void *context)
{
	struct netfront_info *info = context;
	unsigned int i;

	info->connected = false;
	netif_carrier_off(info->netdev);
	/* Stopped, so that connecting wakes them: the stack may not have seen the carrier go. */
	netif_tx_stop_all_queues(info->netdev);
	/* The core reports no packet any more. */
	for (i = 0; i < info->queues_max; i++)
		netdev_tx_reset_queue(netdev_get_tx_queue(info->netdev, i));
}

void *netfront_port_page_alloc(void)
{
	/* Not GFP_KERNEL: a disk over the network might be waiting for this. */
	return (void *)__get_free_page(GFP_NOIO | __GFP_RETRY_MAYFAIL | __GFP_NOWARN | __GFP_ZERO);
}

void netfront_port_wake(void *context)
{
	struct netfront_info *info = context;

	schedule_work(&info->work);
}

void netfront_port_retry_later(void *context)
{
	struct netfront_info *info = context;

	schedule_delayed_work(&info->retry, HZ);
}

/* ---- the network device ---- */

static int netfront_open(struct net_device *netdev)
{
	struct netfront_info *info = netdev_priv(netdev);
	unsigned int i;

	for (i = 0; i < info->queues_max; i++)
		napi_enable(&info->queue[i].napi);
	netif_tx_start_all_queues(netdev);

	/* Events of the time before went nowhere. */
	local_bh_disable();
	for (i = 0; i < info->queues_max; i++)
		napi_schedule(&info->queue[i].napi);
	local_bh_enable();
	return 0;
}

static int netfront_stop(struct net_device *netdev)
{
	struct netfront_info *info = netdev_priv(netdev);
	unsigned int i;

	netif_tx_stop_all_queues(netdev);
	for (i = 0; i < info->queues_max; i++)
		napi_disable(&info->queue[i].napi);
	return 0;
}

static void netfront_get_stats64(struct net_device *netdev, struct rtnl_link_stats64 *stats)
{
	struct netfront_info *info = netdev_priv(netdev);
	struct netfront_statistics of;
	unsigned int i;

	for (i = 0; i < info->queues_max; i++) {
		netfront_get_statistics(info->core, i, &of);
		stats->tx_packets += of.tx_packets;
		stats->tx_bytes += of.tx_bytes;
		stats->tx_errors += of.tx_errors;
		stats->tx_dropped += of.tx_dropped;
		stats->rx_packets += of.rx_packets;
		stats->rx_bytes += of.rx_bytes;
		stats->rx_errors += of.rx_errors + info->queue[i].bad_checksums;
		stats->rx_dropped += of.rx_dropped;
	}
}

static int netfront_change_mtu(struct net_device *netdev, int mtu)
{
	struct netfront_info *info = netdev_priv(netdev);

	if (info->xdp_prog && mtu > NETFRONT_XDP_MTU)
		return -EINVAL;
	netdev->mtu = mtu;
	return 0;
}

static netdev_features_t netfront_fix_features(struct net_device *netdev,
					       netdev_features_t wanted)
{
	struct netfront_info *info = netdev_priv(netdev);
	const struct netfront_features *has = &info->features;

	if (!has->send_checksum_ipv4)
		wanted &= ~NETIF_F_IP_CSUM;
	if (!has->send_checksum_ipv6)
		wanted &= ~NETIF_F_IPV6_CSUM;
	if (!has->send_gso_ipv4)
		wanted &= ~NETIF_F_TSO;
	if (!has->send_gso_ipv6)
		wanted &= ~NETIF_F_TSO6;
	return wanted;
}

static int netfront_set_features(struct net_device *netdev, netdev_features_t wanted)
{
	struct netfront_info *info = netdev_priv(netdev);

	netdev_features_t changed = netdev->features ^ wanted;

	netdev->features = wanted; /* for netfront_port_wishes() */
	if (changed & (NETIF_F_RXCSUM | NETIF_F_GRO_HW))
		netfront_want(info, NETFRONT_RECONNECT);
	return 0;
}

static const struct net_device_ops netfront_netdev_ops = {
	.ndo_open = netfront_open,
	.ndo_stop = netfront_stop,
	.ndo_start_xmit = netfront_start_xmit,
	.ndo_get_stats64 = netfront_get_stats64,
	.ndo_set_rx_mode = netfront_set_rx_mode,
	.ndo_change_mtu = netfront_change_mtu,
	.ndo_fix_features = netfront_fix_features,
	.ndo_set_features = netfront_set_features,
	.ndo_validate_addr = eth_validate_addr,
	.ndo_set_mac_address = eth_mac_addr,
	.ndo_bpf = netfront_xdp,
	.ndo_xdp_xmit = netfront_xdp_xmit,
};

/* ---- the device on the bus ---- */

static void netfront_work_function(struct work_struct *work)
{
	struct netfront_info *info = container_of(work, struct netfront_info, work);

	mutex_lock(&info->mutex);
	netfront_work(info->core);
	if (test_and_clear_bit(NETFRONT_RECONNECT, &info->pending))
		netfront_reconnect(info->core);
	if (test_and_clear_bit(NETFRONT_REHASH, &info->pending))
		netfront_hash_changed(info->core);
	mutex_unlock(&info->mutex);
}

static void netfront_retry_work(struct work_struct *work)
{
	struct netfront_info *info = container_of(to_delayed_work(work), struct netfront_info, retry);

	mutex_lock(&info->mutex);
	netfront_retry(info->core);
	mutex_unlock(&info->mutex);
}

static void netfront_backend_state(struct xenbus_device *dev, unsigned int state)
{
	struct netfront_info *info = dev->data;

	mutex_lock(&info->mutex);
	netfront_backend_changed(info->core, state);
	mutex_unlock(&info->mutex);
}

static void netfront_suspend(struct xenbus_device *dev)
{
	struct netfront_info *info = dev->data;

	mutex_lock(&info->mutex);
}

static void netfront_restore(struct xenbus_device *dev)
{
	struct netfront_info *info = dev->data;

	netfront_restored(info->core, dev->otherend, dev->otherend_id);
}

static void netfront_resume(struct xenbus_device *dev)
{
	struct netfront_info *info = dev->data;

	mutex_unlock(&info->mutex);
}

/* Ends the core; then nothing but the network stack knows the device. */
static void netfront_end_core(struct netfront_info *info)
{
	mutex_lock(&info->mutex);
	netfront_remove(info->core);
	mutex_unlock(&info->mutex);
}

static void netfront_free(struct netfront_info *info)
{
	unsigned int i;

	for (i = 0; i < info->queues_max; i++) {
		struct netfront_queue *queue = &info->queue[i];

		if (xdp_rxq_info_is_reg(&queue->xdp_rxq))
			xdp_rxq_info_unreg(&queue->xdp_rxq);
		if (queue->pool)
			page_pool_destroy(queue->pool);
	}
	kvfree(info->object);
	free_netdev(info->netdev);
}

static int netfront_init_queue(struct netfront_queue *queue)
{
	struct net_device *netdev = queue->info->netdev;
	const struct page_pool_params params = {
		.pool_size = NETFRONT_BUFFERS_MAX,
		.nid = NUMA_NO_NODE,
		.dev = netdev->dev.parent,
	};
	struct page_pool *pool = page_pool_create(&params);
	int err;

	if (IS_ERR(pool))
		return PTR_ERR(pool);
	queue->pool = pool;
	err = xdp_rxq_info_reg(&queue->xdp_rxq, netdev, queue->index, queue->napi.napi_id);
	return err ?: xdp_rxq_info_reg_mem_model(&queue->xdp_rxq, MEM_TYPE_PAGE_POOL, pool);
}

static int netfront_init_queues(struct netfront_info *info)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < info->queues_max && !err; i++) {
		struct netfront_queue *queue = &info->queue[i];

		queue->info = info;
		queue->index = i;
		spin_lock_init(&queue->lock[0]);
		spin_lock_init(&queue->lock[1]);
		__skb_queue_head_init(&queue->received);
		netif_napi_add(info->netdev, &queue->napi, netfront_napi_poll);
		err = netfront_init_queue(queue);
	}
	return err;
}

static void netfront_init_netdev(struct net_device *netdev)
{
	netdev->netdev_ops = &netfront_netdev_ops;
	netdev->ethtool_ops = &netfront_ethtool_ops;
	netdev->sysfs_groups[0] = &netfront_attributes;
	netdev->priv_flags |= IFF_DISABLE_NETPOLL; /* transmits with interrupts off */
	netdev->min_mtu = NETFRONT_MTU_MIN;
	netdev->max_mtu = NETFRONT_PACKET_MAX - VLAN_ETH_HLEN; /* until the backend is known */
	netdev->hw_features = NETFRONT_OWN_FEATURES | NETFRONT_BACKEND_FEATURES;
	netdev->features = netdev->hw_features;
	netif_set_tso_max_size(netdev, NETFRONT_PACKET_MAX);
	netif_carrier_off(netdev);
}

static int netfront_probe(struct xenbus_device *dev)
{
	unsigned int queues_max = READ_ONCE(netfront_max_queues) ?:
				  min_t(unsigned int, num_possible_cpus(), 8);
	struct netfront_config config = {
		.nodename = dev->nodename,
		.backend = dev->otherend,
		.backend_id = dev->otherend_id,
	};
	struct netfront_info *info;
	struct net_device *netdev;
	u8 mac[ETH_ALEN];
	int err = -ENOMEM;

	queues_max = min_t(unsigned int, queues_max, 64);
	netdev = alloc_etherdev_mqs(struct_size(info, queue, queues_max), queues_max, queues_max);
	if (!netdev)
		return err;

	info = netdev_priv(netdev);
	info->netdev = netdev;
	info->queues_max = info->queues = queues_max;
	info->tx_buffers = info->rx_buffers = NETFRONT_BUFFERS_MAX;
	info->tx_frames = 1; /* what a backend holds back must not keep others waiting */
	mutex_init(&info->mutex);
	INIT_WORK(&info->work, netfront_work_function);
	INIT_DELAYED_WORK(&info->multicast, netfront_multicast_work);
	INIT_DELAYED_WORK(&info->announce, netfront_announce_work);
	INIT_DELAYED_WORK(&info->retry, netfront_retry_work);
	SET_NETDEV_DEV(netdev, &dev->dev);
	netfront_init_netdev(netdev);
	err = netfront_init_queues(info);
	if (err)
		goto free;

	err = -ENOMEM;
	info->object = kvzalloc(netfront_object_size(queues_max), GFP_KERNEL);
	if (!info->object)
		goto free;
	config.queues_max = queues_max;
	config.context = info;
	mutex_lock(&info->mutex); /* what the core wants done has to wait for info->core */
	err = netfront_create(info->object, &config, mac, &info->core);
	mutex_unlock(&info->mutex);
	if (err)
		goto free;
	eth_hw_addr_set(netdev, mac);

	err = register_netdev(netdev);
	if (err)
		goto end;
	dev->data = info;
	return 0;

end:
	netfront_end_core(info);
	cancel_work_sync(&info->work);
	cancel_delayed_work_sync(&info->retry);
free:
	netfront_free(info);
	return err;
}

static void netfront_remove_device(struct xenbus_device *dev)
{
	struct netfront_info *info = dev->data;

	netfront_end_core(info);
	cancel_delayed_work_sync(&info->announce);
	unregister_netdev(info->netdev);
	cancel_work_sync(&info->work);
	cancel_delayed_work_sync(&info->retry);
	cancel_delayed_work_sync(&info->multicast);
	netfront_free(info);
}

static struct xenbus_driver netfront_driver = {
	.type = "vif",
	.probe = netfront_probe,
	.remove = netfront_remove_device,
	.backend_changed = netfront_backend_state,
	.suspend = netfront_suspend,
	.restored = netfront_restore,
	.resume = netfront_resume,
	.driver.name = "vif",
};

static int __init netfront_init(void)
{
	int err = xenbus_driver_register(&netfront_driver);

	return err == -ENODEV ? 0 : err;
}
device_initcall(netfront_init);
