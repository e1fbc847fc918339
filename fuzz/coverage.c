/* GCC tells which code ran by calling __sanitizer_cov_trace_pc at every edge; libFuzzer reads
 * counters. Here calls become counters: one per call site, up to collisions. */
#include <stdint.h>

#define COUNTERS 65536

static uint8_t counters[COUNTERS];

extern void __sanitizer_cov_8bit_counters_init(uint8_t *start, uint8_t *stop);

__attribute__((constructor)) static void offer_counters(void) {
    __sanitizer_cov_8bit_counters_init(counters, counters + COUNTERS);
}

/* Hidden, as libFuzzer has one of its own that only complains. */
__attribute__((visibility("hidden"))) void __sanitizer_cov_trace_pc(void) {
    const uintptr_t site = (uintptr_t)__builtin_return_address(0);
    counters[(site * 0x9E3779B97F4A7C15u) >> 48]++;
}

/* GCC reports comparisons of floats too; libFuzzer has no use for them. */
__attribute__((visibility("hidden"))) void __sanitizer_cov_trace_cmpf(float a, float b) {
    (void)a;
    (void)b;
}
__attribute__((visibility("hidden"))) void __sanitizer_cov_trace_cmpd(double a, double b) {
    (void)a;
    (void)b;
}
