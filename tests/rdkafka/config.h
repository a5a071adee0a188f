/* What librdkafka's `configure` finds out on Linux with glibc or musl, as far as its sources ask. They include it as ../config.h. */
#ifndef _CONFIG_H_
#define _CONFIG_H_

#define BUILT_WITH "C11THREADS LIBDL PLUGINS ZLIB ZSTD HDRHISTOGRAM SYSLOG SNAPPY"
#define ENABLE_DEVEL 0
#define SOLIB_EXT ".so"

#define WITH_C11THREADS 1
#define WITH_HDRHISTOGRAM 1
#define WITH_LIBDL 1
#define WITH_PLUGINS 1
#define WITH_SNAPPY 1
#define WITH_SYSLOG 1
#define WITH_ZLIB 1
#define WITH_ZSTD 1
#ifdef __x86_64__
/* Whether the processor has the instruction is asked at run time. */
#define WITH_CRC32C_HW 1
#endif

#define HAVE_PTHREAD_SETNAME_GNU 1
#define HAVE_RAND_R 1
#define HAVE_REGEX 1
#define HAVE_STRCASESTR 1
#define HAVE_STRERROR_R 1
#define HAVE_STRNDUP 1

#define HAVE_ATOMICS_32 1
#define HAVE_ATOMICS_32_ATOMIC 1
#define HAVE_ATOMICS_64 1
#define HAVE_ATOMICS_64_ATOMIC 1
#define ATOMIC_OP32(OP1, OP2, PTR, VAL) __atomic_##OP1##_##OP2(PTR, VAL, __ATOMIC_SEQ_CST)
#define ATOMIC_OP64(OP1, OP2, PTR, VAL) __atomic_##OP1##_##OP2(PTR, VAL, __ATOMIC_SEQ_CST)

#endif
