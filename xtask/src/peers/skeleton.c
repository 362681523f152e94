/* Copies through DPDK's dma_skeleton device: the same work as `dmaring-peers`, told in the same lines of JSON.
 *
 * Usage: skeleton APP_CORE WORKER_CORE ROUND BYTES_OF_ONE_AREA WORK...
 *
 * A work is `copy64-DEPTH`, `copy64-1-lfence` (with `lfence` between two looks for an end) or `cold-SIZE-DEPTH`
 * (bytes). Each is verified when it is over. A thread that is bound to one core and was moved all the same makes
 * `migrations` more than 0, and the round void.
 *
 * Written against the public headers of DPDK 22.11. */

#define _GNU_SOURCE
#include <dirent.h>
#include <immintrin.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <rte_bus_vdev.h>
#include <rte_dmadev.h>
#include <rte_eal.h>

#define DEVICE "dma_skeleton"
#define RING 1024
/* A short copy goes through so many blocks of 64 bytes, again and again. */
#define HOT_BLOCKS 1024
#define LATENCIES 200000u
#define RATE_COPIES 2000000u
/* So many cold copies at least: where there are fewer blocks they are copied again, in the same order. */
#define COLD_COPIES 512u
#define CHUNKS 8
#define MAX_NANOSECONDS 100000u

static int16_t device;
static uint8_t *source, *destination;
static uint64_t area;
static unsigned round_number, worker_core;

static void fail(const char *what)
{
	fprintf(stderr, "skeleton: %s\n", what);
	exit(1);
}

static uint64_t now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* ---- which threads are bound to one core, and whether they stayed there ---- */

struct threads {
	unsigned pinned;
	long migrations, preemptions;
};

/* The number behind `label` in a file of a thread's directory, or -1. */
static long number_in(const char *thread, const char *file, const char *label)
{
	char path[320], line[512];
	snprintf(path, sizeof path, "/proc/self/task/%s/%s", thread, file);
	FILE *stream = fopen(path, "r");
	long number = -1;
	while (stream && fgets(line, sizeof line, stream)) {
		char *colon = strchr(line, ':');
		if (colon && strncmp(line, label, strlen(label)) == 0) {
			char *end;
			number = strtol(colon + 1, &end, 10);
			/* A list of several cores is no number. */
			if (*end != '\n')
				number = -1;
			break;
		}
	}
	if (stream)
		fclose(stream);
	return number;
}

static struct threads look_at_threads(void)
{
	struct threads threads = {0};
	DIR *directory = opendir("/proc/self/task");
	for (struct dirent *entry; directory && (entry = readdir(directory));) {
		if (entry->d_name[0] == '.' || number_in(entry->d_name, "status", "Cpus_allowed_list") < 0)
			continue;
		long moves = number_in(entry->d_name, "sched", "se.nr_migrations");
		long preemptions = number_in(entry->d_name, "status", "nonvoluntary_ctxt_switches");
		/* Of a thread that is not watched nobody can say that it stayed. */
		if (moves < 0)
			continue;
		threads.pinned++;
		threads.migrations += moves;
		threads.preemptions += preemptions < 0 ? 0 : preemptions;
	}
	if (directory)
		closedir(directory);
	return threads;
}

/* ---- whether a core is shared with another hyperthread, as on the other side: `benches/src/shared.rs` ---- */

#define TURNS 10000

static uint64_t rotated(uint64_t word, unsigned bits)
{
	return word << bits | word >> (64 - bits);
}

static uint64_t look_at_core(void)
{
	/* Read and written, so that nobody can tell what comes out. */
	static volatile uint64_t word = 1;
	uint64_t begin = now(), first = word;
	uint64_t a = first, b = first + 1, c = first + 2, d = first + 3, e = first + 4, f = first + 5;
	for (unsigned turn = 0; turn < TURNS; turn++) {
		a = rotated(a, 1) ^ 0x55;
		b = rotated(b, 3) ^ 0x56;
		c = rotated(c, 5) ^ 0x57;
		d = rotated(d, 7) ^ 0x58;
		e = rotated(e, 9) ^ 0x59;
		f = rotated(f, 11) ^ 0x5a;
	}
	word = a ^ b ^ c ^ d ^ e ^ f;
	return now() - begin;
}

/* ---- the order of blocks ---- */

/* Every block once, in an order that no prefetcher follows: Fisher and Yates' shuffle. */
static uint32_t *shuffled(uint32_t count, uint64_t seed)
{
	uint32_t *order = malloc(count * sizeof *order);
	if (!order)
		fail("out of memory");
	for (uint32_t i = 0; i < count; i++)
		order[i] = i;
	for (uint32_t i = count - 1; i > 0; i--) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		uint32_t other = (uint32_t)((seed >> 33) % (i + 1));
		uint32_t kept = order[i];
		order[i] = order[other];
		order[other] = kept;
	}
	return order;
}

/* Which block goes where. */
struct pair {
	uint32_t from, to;
};

struct blocks {
	uint32_t size, count;
	struct pair *order;
	/* The bits of a copy's number that say which of them it is, where there are as many as a power of two, or 0. */
	uint32_t mask;
};

static struct blocks shuffled_blocks(uint32_t size, uint32_t count)
{
	struct blocks blocks = {.size = size, .count = count, .mask = count & (count - 1) ? 0 : count - 1};
	uint32_t *from = shuffled(count, 2 * round_number + 1);
	uint32_t *to = shuffled(count, 2 * round_number + 2);
	blocks.order = malloc(count * sizeof *blocks.order);
	if (!blocks.order)
		fail("out of memory");
	for (uint32_t i = 0; i < count; i++)
		blocks.order[i] = (struct pair){.from = from[i], .to = to[i]};
	free(from);
	free(to);
	return blocks;
}

/* Without a division where there is a mask: it would take as long as much else that a copy of a few bytes does. */
static const struct pair *pair_of(const struct blocks *blocks, uint64_t copy)
{
	return &blocks->order[blocks->mask ? copy & blocks->mask : copy % blocks->count];
}

static uint8_t *source_of(const struct blocks *blocks, uint64_t copy)
{
	return source + (uint64_t)pair_of(blocks, copy)->from * blocks->size;
}

static uint8_t *destination_of(const struct blocks *blocks, uint64_t copy)
{
	return destination + (uint64_t)pair_of(blocks, copy)->to * blocks->size;
}

static bool verify(const struct blocks *blocks)
{
	for (uint32_t copy = 0; copy < blocks->count; copy++)
		if (memcmp(destination_of(blocks, copy), source_of(blocks, copy), blocks->size) != 0)
			return false;
	return true;
}

/* ---- both cores wake each other before a work, and look whether anybody shares them, as on the other side:
 * `benches/peers/together.rs` ---- */

#define TOGETHER 100000000u
#define SLEEP 100u
/* As there. */
#define LOOKS 400

static sem_t asked;
static atomic_bool is_answered, is_over, is_to_look;
static atomic_int sleeper_id;
static atomic_uint_least64_t looked_there;

static int in_order(const void *one, const void *other)
{
	uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;
	return (a > b) - (a < b);
}

/* The median of looks of some milliseconds, of which the first half are to wake the core up. */
static uint64_t look_long(void)
{
	uint64_t looks[LOOKS];
	for (unsigned look = 0; look < LOOKS; look++)
		looks[look] = look_at_core();
	qsort(looks + LOOKS / 2, LOOKS / 2, sizeof *looks, in_order);
	return looks[LOOKS / 2 + LOOKS / 4];
}

static void *sleeper(void *unused)
{
	(void)unused;
	atomic_store(&sleeper_id, gettid());
	for (bool over = false; !over;) {
		sem_wait(&asked);
		over = atomic_load(&is_over);
		/* Who asked goes on from here. */
		atomic_store(&is_answered, true);
		if (atomic_exchange(&is_to_look, false))
			atomic_store(&looked_there, look_long());
	}
	return NULL;
}

static void wake(void)
{
	atomic_store(&is_answered, false);
	sem_post(&asked);
	while (!atomic_load(&is_answered))
		_mm_pause();
}

/* What the looks at both cores took, here and there. */
static void bring_together(uint64_t found[2])
{
	pthread_attr_t attributes;
	pthread_t thread;
	cpu_set_t core;
	CPU_ZERO(&core);
	CPU_SET(worker_core, &core);
	atomic_store(&is_over, false);
	atomic_store(&looked_there, 0);
	if (sem_init(&asked, 0, 0) != 0 || pthread_attr_init(&attributes) != 0 ||
	    pthread_attr_setaffinity_np(&attributes, sizeof core, &core) != 0 ||
	    pthread_create(&thread, &attributes, sleeper, NULL) != 0)
		fail("no thread can be had on the worker's core");
	for (uint64_t begin = now(); now() - begin < TOGETHER;) {
		usleep(SLEEP);
		wake();
	}
	atomic_store(&is_to_look, true);
	wake();
	found[0] = look_long();
	while ((found[1] = atomic_load(&looked_there)) == 0)
		_mm_pause();
	atomic_store(&is_over, true);
	wake();
	pthread_join(thread, NULL);
	/* It is counted as long as it is listed, which may be a moment longer. */
	char path[64];
	snprintf(path, sizeof path, "/proc/self/task/%d", atomic_load(&sleeper_id));
	while (access(path, F_OK) == 0)
		usleep(SLEEP);
	pthread_attr_destroy(&attributes);
	sem_destroy(&asked);
}

/* ---- the copies ---- */

static void enqueue(const struct blocks *blocks, uint64_t copy, uint64_t flags)
{
	rte_iova_t from = (rte_iova_t)(uintptr_t)source_of(blocks, copy);
	rte_iova_t to = (rte_iova_t)(uintptr_t)destination_of(blocks, copy);
	if (rte_dma_copy(device, 0, from, to, blocks->size, flags) < 0)
		fail("the device refused a copy");
}

/* One copy after the other: how often each took so many nanoseconds, one look at the clock for each. */
static void latencies(const struct blocks *blocks, bool fenced, uint32_t *histogram)
{
	const uint64_t warm = LATENCIES / 10;
	uint64_t before = now();
	bool error = false;
	for (uint64_t copy = 0; copy < LATENCIES + warm; copy++) {
		enqueue(blocks, copy, RTE_DMA_OP_FLAG_SUBMIT);
		while (rte_dma_completed(device, 0, 1, NULL, &error) == 0)
			if (fenced)
				_mm_lfence();
		if (error)
			fail("the device failed a copy");
		uint64_t after = now(), took = after - before;
		before = after;
		if (copy >= warm)
			histogram[took < MAX_NANOSECONDS ? took : MAX_NANOSECONDS]++;
	}
}

/* `depth` copies in flight: when each of CHUNKS equal parts was over. */
static void rate(const struct blocks *blocks, uint64_t copies, unsigned depth, uint64_t *times)
{
	uint64_t begun = 0, ended = 0, part = copies / CHUNKS;
	unsigned chunk = 0;
	bool error = false;
	times[0] = now();
	while (ended < copies) {
		bool any = false;
		for (; begun - ended < depth && begun < copies; begun++, any = true)
			enqueue(blocks, begun, 0);
		if (any)
			rte_dma_submit(device, 0);
		ended += rte_dma_completed(device, 0, depth, NULL, &error);
		if (error)
			fail("the device failed a copy");
		while (chunk < CHUNKS && ended >= part * (chunk + 1))
			times[++chunk] = now();
	}
}

/* ---- a work ---- */

static void report(const char *work, const char *unit, const char *samples, bool verified,
		   struct threads before, const uint64_t loop_ns[2])
{
	struct threads after = look_at_threads();
	printf("{\"side\":\"dpdk\",\"work\":\"%s\",\"unit\":\"%s\",\"samples\":[%s],\"verified\":%s,"
	       "\"threads\":{\"pinned\":%u,\"migrations\":%ld,\"preemptions\":%ld},"
	       "\"loop_ns\":[%" PRIu64 ",%" PRIu64 "]}\n",
	       work, unit, samples, verified ? "true" : "false", after.pinned,
	       after.migrations - before.migrations, after.preemptions - before.preemptions,
	       loop_ns[0], loop_ns[1]);
	fflush(stdout);
}

static void run(const char *work)
{
	unsigned size = 64, depth = 0;
	bool cold = sscanf(work, "cold-%u-%u", &size, &depth) == 2;
	bool fenced = strcmp(work, "copy64-1-lfence") == 0;
	if ((!cold && sscanf(work, "copy64-%u", &depth) != 1) || depth == 0 || size == 0)
		fail("a work is copy64-DEPTH, copy64-1-lfence or cold-SIZE-DEPTH");
	struct blocks blocks = shuffled_blocks(size, cold ? (uint32_t)(area / size) : HOT_BLOCKS);
	memset(destination, 0, cold ? area : (uint64_t)HOT_BLOCKS * size);
	uint64_t loop_ns[2];
	bring_together(loop_ns);
	if (rte_dma_start(device) != 0)
		fail("the device cannot be started");
	/* One copy that is not measured, as on the other side: the device's thread is on its core when it has answered. */
	bool error = false;
	enqueue(&blocks, 0, RTE_DMA_OP_FLAG_SUBMIT);
	while (rte_dma_completed(device, 0, 1, NULL, &error) == 0)
		;
	if (error)
		fail("the device failed a copy");

	char *samples = NULL;
	size_t length = 0;
	FILE *text = open_memstream(&samples, &length);
	if (!text)
		fail("out of memory");
	struct threads before = look_at_threads();
	if (!cold && depth == 1) {
		static uint32_t histogram[MAX_NANOSECONDS + 1];
		memset(histogram, 0, sizeof histogram);
		latencies(&blocks, fenced, histogram);
		const char *comma = "";
		for (uint32_t took = 0; took <= MAX_NANOSECONDS; took++)
			if (histogram[took]) {
				fprintf(text, "%s[%u,%u]", comma, took, histogram[took]);
				comma = ",";
			}
	} else {
		uint64_t turns = (COLD_COPIES + blocks.count - 1) / blocks.count;
		uint64_t copies = cold ? turns * blocks.count : RATE_COPIES, times[CHUNKS + 1];
		if (!cold)
			rate(&blocks, copies / 10, depth, times);
		rate(&blocks, copies, depth, times);
		double part = (double)(copies / CHUNKS) * (cold ? size : 1);
		for (unsigned chunk = 0; chunk < CHUNKS; chunk++)
			fprintf(text, "%s[%.0f,1]", chunk ? "," : "",
				part * 1e9 / (double)(times[chunk + 1] - times[chunk]));
	}
	fclose(text);
	const char *unit = cold ? "bytes_per_s" : depth == 1 ? "ns" : "per_s";
	report(work, unit, samples, verify(&blocks), before, loop_ns);
	/* Its thread leaves the core to the next work. */
	if (rte_dma_stop(device) != 0)
		fail("the device cannot be stopped");
	free(samples);
	free(blocks.order);
}

/* ---- bringing up ---- */

static uint8_t *memory(void)
{
	uint8_t *base = mmap(NULL, area, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (base == MAP_FAILED)
		fail("the areas cannot be mapped");
	/* As the other side does: refused or not, both get what the kernel gives. */
	(void)madvise(base, area, MADV_HUGEPAGE);
	return base;
}

static void start(const char *app_core)
{
	char device_arguments[64];
	snprintf(device_arguments, sizeof device_arguments, DEVICE ",lcore=%u", worker_core);
	char *arguments[] = {"skeleton", "--no-huge", "--no-shconf", "--no-pci", "--no-telemetry",
			     "-m", "64", "-l", (char *)app_core, "--log-level", "error",
			     "--vdev", device_arguments};
	if (rte_eal_init(RTE_DIM(arguments), arguments) < 0)
		fail("DPDK's environment cannot be set up");
	int number = rte_dma_get_dev_id_by_name(DEVICE);
	if (number < 0)
		fail("there is no device " DEVICE);
	device = (int16_t)number;
	struct rte_dma_conf configuration = {.nb_vchans = 1};
	struct rte_dma_vchan_conf channel = {.direction = RTE_DMA_DIR_MEM_TO_MEM, .nb_desc = RING};
	if (rte_dma_configure(device, &configuration) != 0 ||
	    rte_dma_vchan_setup(device, 0, &channel) != 0)
		fail("the device cannot be set up");
}

int main(int count, char **words)
{
	if (count < 6)
		fail("usage: skeleton APP_CORE WORKER_CORE ROUND BYTES_OF_ONE_AREA WORK...");
	round_number = (unsigned)strtoul(words[3], NULL, 10);
	area = strtoull(words[4], NULL, 10);
	if (area < HOT_BLOCKS * 64)
		fail("an area is too short");
	worker_core = (unsigned)strtoul(words[2], NULL, 10);
	start(words[1]);
	source = memory();
	destination = memory();
	for (uint64_t at = 0; at < area; at += 8)
		*(uint64_t *)(source + at) = (at + 1) * 0x9e3779b97f4a7c15u;
	for (int word = 5; word < count; word++)
		run(words[word]);
	rte_eal_cleanup();
	return 0;
}
