// SPDX-License-Identifier: GPL-2.0-only
/*
 * The network frontend's settings in Linux: ethtool, sysfs, and the multicast filter.
 */
#include <linux/sysfs.h>

#include "linux.h"

/* ---- statistics ---- */

struct netfront_counter {
	char name[ETH_GSTRING_LEN];
	size_t offset;
};

#define NETFRONT_COUNTER(field) { #field, offsetof(struct netfront_statistics, field) }

static const struct netfront_counter netfront_counters[] = {
	NETFRONT_COUNTER(tx_packets), NETFRONT_COUNTER(tx_bytes), NETFRONT_COUNTER(tx_errors),
	NETFRONT_COUNTER(tx_dropped), NETFRONT_COUNTER(tx_full), NETFRONT_COUNTER(tx_notifications),
	NETFRONT_COUNTER(tx_checksum_blank), NETFRONT_COUNTER(tx_gso),
	NETFRONT_COUNTER(rx_packets), NETFRONT_COUNTER(rx_bytes), NETFRONT_COUNTER(rx_errors),
	NETFRONT_COUNTER(rx_dropped), NETFRONT_COUNTER(rx_notifications),
	NETFRONT_COUNTER(rx_checksum_blank), NETFRONT_COUNTER(rx_gso), NETFRONT_COUNTER(rx_chains),
	NETFRONT_COUNTER(events),
};

static const char *const netfront_own_counters[] = {
	"xdp_pass", "xdp_drop", "xdp_tx", "xdp_redirect", "xdp_error", "rx_bad_checksums",
};

#define NETFRONT_COUNTERS (ARRAY_SIZE(netfront_counters) + ARRAY_SIZE(netfront_own_counters))

static int netfront_get_sset_count(struct net_device *netdev, int set)
{
	struct netfront_info *info = netdev_priv(netdev);

	return set == ETH_SS_STATS ? info->queues_max * NETFRONT_COUNTERS : -EOPNOTSUPP;
}

static void netfront_get_strings(struct net_device *netdev, u32 set, u8 *data)
{
	struct netfront_info *info = netdev_priv(netdev);
	unsigned int queue, i;

	if (set != ETH_SS_STATS)
		return;
	for (queue = 0; queue < info->queues_max; queue++) {
		for (i = 0; i < ARRAY_SIZE(netfront_counters); i++)
			ethtool_sprintf(&data, "queue_%u_%s", queue, netfront_counters[i].name);
		for (i = 0; i < ARRAY_SIZE(netfront_own_counters); i++)
			ethtool_sprintf(&data, "queue_%u_%s", queue, netfront_own_counters[i]);
	}
}

static void netfront_get_ethtool_stats(struct net_device *netdev, struct ethtool_stats *unused,
				       u64 *data)
{
	struct netfront_info *info = netdev_priv(netdev);
	unsigned int queue, i;

	for (queue = 0; queue < info->queues_max; queue++) {
		struct netfront_statistics of;

		netfront_get_statistics(info->core, queue, &of);
		for (i = 0; i < ARRAY_SIZE(netfront_counters); i++)
			*data++ = *(u64 *)((void *)&of + netfront_counters[i].offset);
		for (i = 0; i < NETFRONT_XDP_COUNTERS; i++)
			*data++ = info->queue[queue].xdp[i];
		*data++ = info->queue[queue].bad_checksums;
	}
}

/* ---- numbers, with which the device connects anew ---- */

static void netfront_get_channels(struct net_device *netdev, struct ethtool_channels *channels)
{
	struct netfront_info *info = netdev_priv(netdev);

	channels->max_combined = info->queues_max;
	channels->combined_count = info->features.queues ?: info->queues;
}

static int netfront_set_channels(struct net_device *netdev, struct ethtool_channels *channels)
{
	struct netfront_info *info = netdev_priv(netdev);

	WRITE_ONCE(info->queues, channels->combined_count);
	netfront_want(info, NETFRONT_RECONNECT);
	return 0;
}

static void netfront_get_ringparam(struct net_device *netdev, struct ethtool_ringparam *ring,
				   struct kernel_ethtool_ringparam *kernel_ring,
				   struct netlink_ext_ack *extack)
{
	struct netfront_info *info = netdev_priv(netdev);

	ring->tx_max_pending = ring->rx_max_pending = NETFRONT_BUFFERS_MAX;
	ring->tx_pending = info->features.tx_buffers ?: info->tx_buffers;
	ring->rx_pending = info->features.rx_buffers ?: info->rx_buffers;
}

static int netfront_set_ringparam(struct net_device *netdev, struct ethtool_ringparam *ring,
				  struct kernel_ethtool_ringparam *kernel_ring,
				  struct netlink_ext_ack *extack)
{
	struct netfront_info *info = netdev_priv(netdev);

	if (ring->tx_pending < NETFRONT_BUFFERS_MIN || ring->rx_pending < NETFRONT_BUFFERS_MIN) {
		NL_SET_ERR_MSG_MOD(extack, "each way needs 32 buffers at least");
		return -EINVAL;
	}
	if (!is_power_of_2(ring->rx_pending)) {
		NL_SET_ERR_MSG_MOD(extack, "receive buffers: a power of two");
		return -EINVAL;
	}
	WRITE_ONCE(info->tx_buffers, ring->tx_pending);
	WRITE_ONCE(info->rx_buffers, ring->rx_pending);
	netfront_want(info, NETFRONT_RECONNECT);
	return 0;
}

static int netfront_get_coalesce(struct net_device *netdev, struct ethtool_coalesce *coalesce,
				 struct kernel_ethtool_coalesce *kernel_coalesce,
				 struct netlink_ext_ack *extack)
{
	struct netfront_info *info = netdev_priv(netdev);

	coalesce->tx_max_coalesced_frames = info->tx_frames;
	coalesce->rx_coalesce_usecs = info->rx_usecs;
	return 0;
}

static int netfront_set_coalesce_params(struct net_device *netdev,
					struct ethtool_coalesce *coalesce,
					struct kernel_ethtool_coalesce *kernel_coalesce,
					struct netlink_ext_ack *extack)
{
	struct netfront_info *info = netdev_priv(netdev);

	if (coalesce->rx_coalesce_usecs > 100000 || !coalesce->tx_max_coalesced_frames) {
		NL_SET_ERR_MSG_MOD(extack, "tx-frames: 1 at least; rx-usecs: 100000 at most");
		return -EINVAL;
	}
	info->tx_frames = coalesce->tx_max_coalesced_frames;
	info->rx_usecs = coalesce->rx_coalesce_usecs;
	netfront_set_coalesce(info->core, info->tx_frames, info->rx_usecs * NSEC_PER_USEC);
	return 0;
}

/* ---- the hash ---- */

static int netfront_get_rxnfc(struct net_device *netdev, struct ethtool_rxnfc *rxnfc, u32 *rules)
{
	struct netfront_info *info = netdev_priv(netdev);
	u32 ip, tcp;

	switch (rxnfc->cmd) {
	case ETHTOOL_GRXRINGS:
		rxnfc->data = info->features.queues;
		return 0;
	case ETHTOOL_GRXFH:
		break;
	default:
		return -EOPNOTSUPP;
	}
	rxnfc->data = 0;
	switch (rxnfc->flow_type) {
	case TCP_V4_FLOW:
		ip = NETFRONT_HASH_IPV4;
		tcp = NETFRONT_HASH_IPV4_TCP;
		break;
	case TCP_V6_FLOW:
		ip = NETFRONT_HASH_IPV6;
		tcp = NETFRONT_HASH_IPV6_TCP;
		break;
	case UDP_V4_FLOW:
	case IPV4_FLOW:
		ip = NETFRONT_HASH_IPV4;
		tcp = 0;
		break;
	case UDP_V6_FLOW:
	case IPV6_FLOW:
		ip = NETFRONT_HASH_IPV6;
		tcp = 0;
		break;
	default:
		return 0;
	}
	if (info->features.hash_types & (ip | tcp))
		rxnfc->data |= RXH_IP_SRC | RXH_IP_DST;
	if (info->features.hash_types & tcp)
		rxnfc->data |= RXH_L4_B_0_1 | RXH_L4_B_2_3;
	return 0;
}

static u32 netfront_get_rxfh_key_size(struct net_device *netdev)
{
	return NETFRONT_HASH_KEY_MAX;
}

static u32 netfront_get_rxfh_indir_size(struct net_device *netdev)
{
	return NETFRONT_HASH_MAPPING_MAX;
}

static int netfront_get_rxfh(struct net_device *netdev, u32 *indir, u8 *key, u8 *function)
{
	struct netfront_info *info = netdev_priv(netdev);
	unsigned int i;

	for (i = 0; indir && i < NETFRONT_HASH_MAPPING_MAX; i++)
		indir[i] = info->hash.mapping_size
				   ? info->hash.mapping[i]
				   : ethtool_rxfh_indir_default(i, info->features.queues ?: 1);
	if (key)
		memcpy(key, info->hash.key, NETFRONT_HASH_KEY_MAX);
	if (function)
		*function = ETH_RSS_HASH_TOP;
	return 0;
}

/* From now on the backend hashes; before it spread packets as it liked. */
static int netfront_set_rxfh(struct net_device *netdev, const u32 *indir, const u8 *key,
			     const u8 function)
{
	struct netfront_info *info = netdev_priv(netdev);
	unsigned int i;

	if (!info->features.control_ring ||
	    (function != ETH_RSS_HASH_NO_CHANGE && function != ETH_RSS_HASH_TOP))
		return -EOPNOTSUPP;
	if (!info->hash.key_size) {
		info->hash.key_size = NETFRONT_HASH_KEY_MAX;
		netdev_rss_key_fill(info->hash.key, NETFRONT_HASH_KEY_MAX);
	}
	if (key)
		memcpy(info->hash.key, key, NETFRONT_HASH_KEY_MAX);
	for (i = 0; indir && i < NETFRONT_HASH_MAPPING_MAX; i++)
		info->hash.mapping[i] = indir[i];
	if (indir)
		info->hash.mapping_size = NETFRONT_HASH_MAPPING_MAX;
	info->hash.types = NETFRONT_HASH_IPV4 | NETFRONT_HASH_IPV4_TCP | NETFRONT_HASH_IPV6 |
			   NETFRONT_HASH_IPV6_TCP;
	netfront_want(info, NETFRONT_REHASH);
	return 0;
}

static void netfront_get_drvinfo(struct net_device *netdev, struct ethtool_drvinfo *drvinfo)
{
	strscpy(drvinfo->driver, "vif", sizeof(drvinfo->driver));
	strscpy(drvinfo->bus_info, dev_name(netdev->dev.parent), sizeof(drvinfo->bus_info));
}

const struct ethtool_ops netfront_ethtool_ops = {
	.supported_coalesce_params = ETHTOOL_COALESCE_RX_USECS | ETHTOOL_COALESCE_TX_MAX_FRAMES,
	.get_drvinfo = netfront_get_drvinfo,
	.get_link = ethtool_op_get_link,
	.get_ts_info = ethtool_op_get_ts_info,
	.get_sset_count = netfront_get_sset_count,
	.get_strings = netfront_get_strings,
	.get_ethtool_stats = netfront_get_ethtool_stats,
	.get_channels = netfront_get_channels,
	.set_channels = netfront_set_channels,
	.get_ringparam = netfront_get_ringparam,
	.set_ringparam = netfront_set_ringparam,
	.get_coalesce = netfront_get_coalesce,
	.set_coalesce = netfront_set_coalesce_params,
	.get_rxnfc = netfront_get_rxnfc,
	.get_rxfh_key_size = netfront_get_rxfh_key_size,
	.get_rxfh_indir_size = netfront_get_rxfh_indir_size,
	.get_rxfh = netfront_get_rxfh,
	.set_rxfh = netfront_set_rxfh,
};

/* ---- /sys/class/net/NAME/xen/: what was agreed on with the backend ---- */

#define NETFRONT_ATTRIBUTE(field)                                                            \
	static ssize_t field##_show(struct device *dev, struct device_attribute *attr, char *buf) \
	{                                                                                         \
		struct netfront_info *info = netdev_priv(to_net_dev(dev));                        \
												  \
		return sysfs_emit(buf, "%u\n", info->features.field);                             \
	}                                                                                         \
	static DEVICE_ATTR_RO(field)

NETFRONT_ATTRIBUTE(queues);
NETFRONT_ATTRIBUTE(tx_buffers);
NETFRONT_ATTRIBUTE(rx_buffers);
NETFRONT_ATTRIBUTE(split_events);
NETFRONT_ATTRIBUTE(send_sg);
NETFRONT_ATTRIBUTE(receive_gso);
NETFRONT_ATTRIBUTE(receive_checksum);
NETFRONT_ATTRIBUTE(multicast_filter);
NETFRONT_ATTRIBUTE(control_ring);
NETFRONT_ATTRIBUTE(hash_types);
NETFRONT_ATTRIBUTE(hash_mapping_max);
NETFRONT_ATTRIBUTE(static_grants);

static struct attribute *netfront_attribute_list[] = {
	&dev_attr_queues.attr,		 &dev_attr_tx_buffers.attr,
	&dev_attr_rx_buffers.attr,	 &dev_attr_split_events.attr,
	&dev_attr_send_sg.attr,		 &dev_attr_receive_gso.attr,
	&dev_attr_receive_checksum.attr, &dev_attr_multicast_filter.attr,
	&dev_attr_control_ring.attr,	 &dev_attr_hash_types.attr,
	&dev_attr_hash_mapping_max.attr, &dev_attr_static_grants.attr,
	NULL,
};

const struct attribute_group netfront_attributes = {
	.name = "xen",
	.attrs = netfront_attribute_list,
};

/* ---- the multicast filter ---- */

void netfront_port_multicast_refused(void *context)
{
	struct netfront_info *info = context;

	WRITE_ONCE(info->filter_refused, true);
	schedule_delayed_work(&info->multicast, 0);
}

void netfront_set_rx_mode(struct net_device *netdev)
{
	struct netfront_info *info = netdev_priv(netdev);

	schedule_delayed_work(&info->multicast, 0);
}

/* What the interface wants to receive; -1: everything. */
static int netfront_wanted_filter(struct net_device *netdev, u8 (*list)[ETH_ALEN])
{
	struct netdev_hw_addr *address;
	int count = 0;

	netif_addr_lock_bh(netdev);
	if (netdev->flags & (IFF_PROMISC | IFF_ALLMULTI) ||
	    netdev_mc_count(netdev) > NETFRONT_MULTICAST_MAX)
		count = -1;
	else
		netdev_for_each_mc_addr(address, netdev)
			ether_addr_copy(list[count++], address->addr);
	netif_addr_unlock_bh(netdev);
	return count;
}

static bool netfront_has_address(u8 (*list)[ETH_ALEN], unsigned int count, const u8 *address)
{
	while (count-- > 0)
		if (ether_addr_equal_unaligned(list[count], address))
			return true;
	return false;
}

/* Takes out what is not wanted any more, and puts in what is. False: there is no room now. */
static bool netfront_amend_filter(struct netfront_info *info, u8 (*list)[ETH_ALEN],
				  unsigned int count)
{
	unsigned int i;

	for (i = info->filter_count; i-- > 0;) {
		if (netfront_has_address(list, count, info->filter[i]))
			continue;
		if (netfront_multicast(info->core, info->filter[i], false) == NETFRONT_FULL)
			return false;
		memcpy(info->filter[i], info->filter[--info->filter_count], ETH_ALEN);
	}
	for (i = 0; i < count; i++) {
		if (netfront_has_address(info->filter, info->filter_count, list[i]))
			continue;
		if (netfront_multicast(info->core, list[i], true) == NETFRONT_FULL)
			return false;
		memcpy(info->filter[info->filter_count++], list[i], ETH_ALEN);
	}
	return true;
}

/* The filter is off while it is not complete. */
void netfront_multicast_work(struct work_struct *work)
{
	struct netfront_info *info = container_of(to_delayed_work(work), struct netfront_info,
						  multicast);
	u8 list[NETFRONT_MULTICAST_MAX][ETH_ALEN];
	int count = netfront_wanted_filter(info->netdev, list);
	bool on;

	mutex_lock(&info->mutex);
	if (info->connected && info->features.multicast_filter) {
		on = count >= 0 && !READ_ONCE(info->filter_refused);
		if (on && !netfront_amend_filter(info, list, count)) {
			schedule_delayed_work(&info->multicast, HZ / 100);
			on = false;
		}
		if (on != info->filter_on && !netfront_filter_multicast(info->core, on))
			info->filter_on = on;
	}
	mutex_unlock(&info->mutex);
}
