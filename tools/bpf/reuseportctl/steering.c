// SPDX-License-Identifier: GPL-2.0
/* Loading the BPF program that steers. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "quic.h"
#include "steering.h"
#include "reuseportctl.skel.h"

bool steering_can_migrate(void)
{
	/* return ctx->migrating_sk != NULL; kernels before 5.14 reject the access */
	const struct bpf_insn code[] = {
		{ .code = BPF_LDX | BPF_MEM | BPF_DW,
		  .dst_reg = 1,
		  .src_reg = 1,
		  .off = offsetof(struct sk_reuseport_md, migrating_sk) },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 1 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts,
		    .expected_attach_type = BPF_SK_REUSEPORT_SELECT_OR_MIGRATE);
	int fd;

	fd = bpf_prog_load(BPF_PROG_TYPE_SK_REUSEPORT, "probe", "GPL", code, ARRAY_SIZE(code),
			   &opts);
	if (fd < 0)
		return false;
	close(fd);
	return true;
}

/* The skeleton closes its own file descriptors when it goes. */
static int keep(struct service *service, const struct reuseportctl_bpf *skel,
		const struct bpf_program *program, const struct service *old)
{
	const struct {
		int *fd, from;
	} kept[] = {
		{ &service->program, bpf_program__fd(program) },
		{ &service->layout_map, bpf_map__fd(skel->maps.layout) },
		{ &service->config_map, bpf_map__fd(skel->maps.service) },
		{ &service->generations, bpf_map__fd(skel->maps.generations) },
		{ &service->generation_info, bpf_map__fd(skel->maps.generation_info) },
		{ &service->state, bpf_map__fd(skel->maps.state) },
		{ &service->counters, bpf_map__fd(skel->maps.counters) },
		{ &service->counters_1, old ? old->counters_1 : -1 },
		{ &service->flows, bpf_map__fd(skel->maps.flows) },
		{ &service->flow_config_map, bpf_map__fd(skel->maps.flow_config) },
		{ &service->flow_stats, bpf_map__fd(skel->maps.flow_stats) },
		{ &service->quic_ids, bpf_map__fd(skel->maps.quic_ids) },
		{ &service->quic_cookies, bpf_map__fd(skel->maps.quic_cookies) },
		{ &service->quic_service, bpf_map__fd(skel->maps.quic_service) },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(kept); i++) {
		if (kept[i].from < 0)
			continue;
		*kept[i].fd = fcntl(kept[i].from, F_DUPFD_CLOEXEC, 3);
		if (*kept[i].fd < 0)
			return fail("cannot duplicate a file descriptor (%s)", strerror(errno));
	}
	return 0;
}

static int describe(struct service *service)
{
	struct layout layout = { .version = LAYOUT_VERSION, .tool = VERSION };
	__u32 zero = 0;

	service->layout = layout;
	if (!bpf_map_update_elem(service->layout_map, &zero, &layout, BPF_ANY) &&
	    !bpf_map_update_elem(service->config_map, &zero, &service->config, BPF_ANY) &&
	    !bpf_map_update_elem(service->flow_config_map, &zero, &service->flow_config, BPF_ANY))
		return 0;
	return fail("cannot write the configuration of service %s (%s)", service->name,
		    strerror(errno));
}

static int size_maps(const struct service *service, struct reuseportctl_bpf *skel,
		     const struct service *old)
{
	if (old && old->layout.version == LAYOUT_VERSION)
		return bpf_map__reuse_fd(skel->maps.flows, old->flows) ||
		       bpf_map__reuse_fd(skel->maps.flow_stats, old->flow_stats) ||
		       bpf_map__reuse_fd(skel->maps.quic_ids, old->quic_ids) ||
		       bpf_map__reuse_fd(skel->maps.quic_cookies, old->quic_cookies) ||
		       bpf_map__reuse_fd(skel->maps.quic_service, old->quic_service);
	return bpf_map__set_max_entries(skel->maps.flows, service->flow_config.buckets) ||
	       bpf_map__set_max_entries(skel->maps.quic_ids, service->flow_config.id_buckets) ||
	       bpf_map__set_max_entries(skel->maps.quic_cookies, quic_nr_cookies(service));
}

/* Let a service of QUIC learn from its server's packets, if it can. After an upgrade the map is
 * that of a program that may have been able to, or not.
 */
static int start_learning(struct service *service, bool learns, int program)
{
	struct quic_service info;
	__u32 zero = 0;

	if (service->config.steering.mode != UDP_QUIC)
		return 0;
	if (learns) {
		service->quic_learn = quic_attach(program);
		if (service->quic_learn < 0)
			return -1;
	}
	if (bpf_map_lookup_elem(service->quic_service, &zero, &info))
		return fail("cannot read what is known of QUIC (%s)", strerror(errno));
	info.learns = learns;
	if (!bpf_map_update_elem(service->quic_service, &zero, &info, BPF_ANY))
		return 0;
	return fail("cannot write what is known of QUIC (%s)", strerror(errno));
}

int steering_load(struct service *service, const struct service *old)
{
	bool migrate = service->config.protocol == IPPROTO_TCP && steering_can_migrate();
	bool learns = service->config.steering.mode == UDP_QUIC && quic_can_learn();
	struct reuseportctl_bpf *skel;
	struct bpf_program *program;
	int counters, err;

	skel = reuseportctl_bpf__open();
	if (!skel)
		return fail("cannot open the program (%s)", strerror(errno));
	program = migrate ? skel->progs.steer_migrate : skel->progs.steer;
	bpf_program__set_autoload(skel->progs.steer, !migrate);
	bpf_program__set_autoload(skel->progs.steer_migrate, migrate);
	*(struct steering *)&skel->rodata->steering = service->config.steering;
	bpf_program__set_autoload(skel->progs.quic_learn, learns);
	*(struct flow_config *)&skel->rodata->flow_table = service->flow_config;
	*(struct quic_constants *)&skel->rodata->quic = quic_constants(service);
	/* an example of what goes into the map: the kernel notes its size, and needs it no more */
	counters = bpf_map_create(BPF_MAP_TYPE_PERCPU_ARRAY, "slot_counters", sizeof(__u32),
				  sizeof(struct counter), service->config.steering.slots, NULL);
	err = counters < 0 || bpf_map__set_inner_map_fd(skel->maps.counters, counters) ||
	      size_maps(service, skel, old);
	if (err || reuseportctl_bpf__load(skel))
		err = fail("cannot load the program (%s): Linux 5.10 or later with "
			   "CONFIG_BPF_SYSCALL is required; reuseportctl probe prints what is "
			   "missing, REUSEPORTCTL_DEBUG=1 why it failed",
			   strerror(errno));
	else
		err = keep(service, skel, program, old) || describe(service) ||
		      start_learning(service, learns, bpf_program__fd(skel->progs.quic_learn));
	if (counters >= 0)
		close(counters);
	reuseportctl_bpf__destroy(skel);
	return err ? -1 : 0;
}
