// SPDX-License-Identifier: GPL-2.0-only
/*
 * The network frontend as a Linux network device: what netfront_port.h asks for, wrapped
 * around NAPI and the xen bus. Negotiation, rings and checks are in core/.
 */
#include <linux/ethtool.h>
#include <linux/etherdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include "../../xenbus/linux/xenbus.h"
#include "netfront.h"
#include "netfront_port.h"

struct netfront_info {
	struct net_device *netdev;
	struct netfront *core;
	struct napi_struct napi;
	struct mutex mutex;		/* around the core's functions for threads */
	spinlock_t lock;		/* the core's, around the rings */
	struct work_struct broken;
	struct sk_buff *rx_skb;		/* being filled */
	struct sk_buff_head rx_queue;	/* received by the poll that runs */
	u8 object[] __aligned(16);	/* the core's */
};

/* ---- what the core asks for ---- */

void netfront_port_lock(void *context)
{
	struct netfront_info *info = context;

	spin_lock_bh(&info->lock);
}

void netfront_port_unlock(void *context)
{
	struct netfront_info *info = context;

	spin_unlock_bh(&info->lock);
}

void netfront_port_event(void *context)
{
	struct netfront_info *info = context;

	/* Does nothing while the interface is down: opening it polls. */
	napi_schedule(&info->napi);
}

void netfront_port_link(void *context, bool up)
{
	struct netfront_info *info = context;

	if (up) {
		netif_carrier_on(info->netdev);
		netif_wake_queue(info->netdev);
	} else {
		netif_carrier_off(info->netdev);
	}
}

void netfront_port_tx_full(void *context)
{
	struct netfront_info *info = context;

	netif_stop_queue(info->netdev);
}

void netfront_port_tx_room(void *context)
{
	struct netfront_info *info = context;

	netif_wake_queue(info->netdev);
}

void *netfront_port_rx_buffer(void *context, size_t length)
{
	struct netfront_info *info = context;

	info->rx_skb = napi_alloc_skb(&info->napi, length);
	return info->rx_skb ? skb_put(info->rx_skb, length) : NULL;
}

void netfront_port_rx_packet(void *context)
{
	struct netfront_info *info = context;

	__skb_queue_tail(&info->rx_queue, info->rx_skb);
}

void netfront_port_broken(void *context)
{
	struct netfront_info *info = context;

	schedule_work(&info->broken);
}

/* ---- the network device ---- */

static int netfront_napi_poll(struct napi_struct *napi, int budget)
{
	struct netfront_info *info = container_of(napi, struct netfront_info, napi);
	struct sk_buff *skb;
	int received;

	received = netfront_poll(info->core, budget);
	while ((skb = __skb_dequeue(&info->rx_queue))) {
		skb->protocol = eth_type_trans(skb, info->netdev);
		napi_gro_receive(napi, skb);
	}

	if (received < budget && napi_complete_done(napi, received) && netfront_rearm(info->core))
		napi_schedule(napi);
	return received;
}

static netdev_tx_t netfront_start_xmit(struct sk_buff *skb, struct net_device *netdev)
{
	struct netfront_info *info = netdev_priv(netdev);

	/* The stack did it already: no feature of this device lets it do otherwise. */
	if (skb_linearize(skb)) {
		netdev->stats.tx_dropped++;
		dev_kfree_skb_any(skb);
		return NETDEV_TX_OK;
	}
	if (netfront_transmit(info->core, skb->data, skb->len) == NETFRONT_FULL)
		return NETDEV_TX_BUSY;
	skb_tx_timestamp(skb);
	dev_consume_skb_any(skb);
	return NETDEV_TX_OK;
}

static int netfront_open(struct net_device *netdev)
{
	struct netfront_info *info = netdev_priv(netdev);

	napi_enable(&info->napi);
	netif_start_queue(netdev);

	/* Events of the time before went nowhere. */
	local_bh_disable();
	napi_schedule(&info->napi);
	local_bh_enable();
	return 0;
}

static int netfront_stop(struct net_device *netdev)
{
	struct netfront_info *info = netdev_priv(netdev);

	netif_stop_queue(netdev);
	napi_disable(&info->napi);
	return 0;
}

static void netfront_get_stats64(struct net_device *netdev, struct rtnl_link_stats64 *stats)
{
	struct netfront_info *info = netdev_priv(netdev);
	struct netfront_counters counters;

	netfront_get_counters(info->core, &counters);
	stats->tx_packets = counters.tx_packets;
	stats->tx_bytes = counters.tx_bytes;
	stats->tx_errors = counters.tx_errors;
	stats->tx_dropped = counters.tx_dropped + netdev->stats.tx_dropped;
	stats->rx_packets = counters.rx_packets;
	stats->rx_bytes = counters.rx_bytes;
	stats->rx_errors = counters.rx_errors;
	stats->rx_dropped = counters.rx_dropped;
}

static const struct net_device_ops netfront_netdev_ops = {
	.ndo_open = netfront_open,
	.ndo_stop = netfront_stop,
	.ndo_start_xmit = netfront_start_xmit,
	.ndo_get_stats64 = netfront_get_stats64,
	.ndo_validate_addr = eth_validate_addr,
	.ndo_set_mac_address = eth_mac_addr,
};

static void netfront_get_drvinfo(struct net_device *netdev, struct ethtool_drvinfo *drvinfo)
{
	strscpy(drvinfo->driver, "vif", sizeof(drvinfo->driver));
	strscpy(drvinfo->bus_info, dev_name(netdev->dev.parent), sizeof(drvinfo->bus_info));
}

static const struct ethtool_ops netfront_ethtool_ops = {
	.get_drvinfo = netfront_get_drvinfo,
	.get_link = ethtool_op_get_link,
};

/* ---- the device on the bus ---- */

static void netfront_broken_work(struct work_struct *work)
{
	struct netfront_info *info = container_of(work, struct netfront_info, broken);

	mutex_lock(&info->mutex);
	netfront_handle_broken(info->core);
	mutex_unlock(&info->mutex);
}

static void netfront_backend_state(struct xenbus_device *dev, unsigned int state)
{
	struct netfront_info *info = dev->data;

	mutex_lock(&info->mutex);
	netfront_backend_changed(info->core, state);
	mutex_unlock(&info->mutex);
}

/* Ends the core; then nothing but the network stack knows the device. */
static void netfront_end_core(struct netfront_info *info)
{
	mutex_lock(&info->mutex);
	netfront_remove(info->core);
	mutex_unlock(&info->mutex);
}

static int netfront_probe(struct xenbus_device *dev)
{
	struct netfront_config config = {
		.nodename = dev->nodename,
		.backend = dev->otherend,
		.backend_id = dev->otherend_id,
	};
	struct netfront_info *info;
	struct net_device *netdev;
	u8 mac[ETH_ALEN];
	int err;

	netdev = alloc_etherdev(struct_size(info, object, netfront_object_size()));
	if (!netdev)
		return -ENOMEM;

	info = netdev_priv(netdev);
	info->netdev = netdev;
	mutex_init(&info->mutex);
	spin_lock_init(&info->lock);
	INIT_WORK(&info->broken, netfront_broken_work);
	__skb_queue_head_init(&info->rx_queue);

	netdev->netdev_ops = &netfront_netdev_ops;
	netdev->ethtool_ops = &netfront_ethtool_ops;
	netdev->priv_flags |= IFF_DISABLE_NETPOLL; /* transmits with interrupts off */
	netif_napi_add(netdev, &info->napi, netfront_napi_poll);
	netif_carrier_off(netdev);
	SET_NETDEV_DEV(netdev, &dev->dev);

	config.context = info;
	err = netfront_create(info->object, &config, mac, &info->core);
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
free:
	free_netdev(netdev);
	return err;
}

static void netfront_remove_device(struct xenbus_device *dev)
{
	struct netfront_info *info = dev->data;

	netfront_end_core(info);
	unregister_netdev(info->netdev);
	cancel_work_sync(&info->broken);
	free_netdev(info->netdev);
}

static struct xenbus_driver netfront_driver = {
	.type = "vif",
	.probe = netfront_probe,
	.remove = netfront_remove_device,
	.backend_changed = netfront_backend_state,
	.driver.name = "vif",
};

static int __init netfront_init(void)
{
	int err = xenbus_driver_register(&netfront_driver);

	return err == -ENODEV ? 0 : err;
}
device_initcall(netfront_init);
