/* SPAR Engine for C: the five tasks on the CPU, without Python.
 *
 * A checkpoint is a directory with safetensors, config.json and tokenizer.json, as the Python package reads it;
 * pictures go in and come out as RGB bytes; texts are UTF-8. The same seed gives the same picture, to the bit, as the
 * native backend of the package at the same precision.
 *
 * Threads. An engine may be used by any number of threads at once; each call runs in the thread that makes it, helped
 * by the engine's own threads, and at most `threads` of all of them compute at a time: further calls wait for a turn. A
 * result does not depend on what else runs. `spar_close` must not be called while a call on that engine is running.
 * Callbacks are called in the calling thread, between two runs of the model, and may themselves call this library.
 * Do not fork a process that has an engine, unless the child execs at once.
 *
 * Ownership. What the caller passes is only read, and only until the call returns; only a spar_cancel is used across
 * threads. What comes out in a spar_images or spar_answer belongs to the caller until its free function. A call that
 * fails leaves its output empty: nothing is to be freed, and freeing is harmless.
 *
 * Errors. A call returns SPAR_OK or why it failed; `spar_error` has the words: one line that names the thing, its value
 * and the remedy. No exception leaves the library, not even one that a callback throws.
 */
#ifndef SPAR_H
#define SPAR_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define SPAR_API __attribute__((visibility("default")))
#else
#define SPAR_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct spar_engine spar_engine;
typedef struct spar_cancel spar_cancel;

typedef enum spar_status {
  SPAR_OK = 0,
  SPAR_CONFIG = 1,     /* a configuration that cannot be used */
  SPAR_CHECKPOINT = 2, /* weights or tokenizer that are missing, damaged, or of another model */
  SPAR_INPUT = 3,      /* a text, picture, number or option of this call that cannot be used */
  SPAR_BACKEND = 4,    /* something that this machine or this checkpoint cannot run */
  SPAR_CANCELLED = 5,  /* the caller asked to stop; nothing was produced */
  SPAR_MEMORY = 6,     /* memory ran out; nothing was produced */
  SPAR_INTERNAL = 7    /* anything else; the engine stays usable */
} spar_status;

typedef enum spar_precision {
  SPAR_FP32 = 0,
  SPAR_BF16 = 1, /* weights and activations; sums and the residual stream are fp32 */
  SPAR_INT8 = 2, /* as bf16, with the large linear layers in int8 */
  SPAR_INT4 = 3  /* as int8, with the language model's linear layers in 4 bits */
} spar_precision;

/* "0.1.0". Static. */
SPAR_API const char *spar_version(void);

/* Why the last call of this thread that failed did so; "" before any. Valid until the thread's next failing call. */
SPAR_API const char *spar_error(void);

/* -- Options. Every struct of options is filled by its init function, then changed by name, and passed by address;
 *    NULL stands for the defaults. `size` is how a library tells which version of the struct it was given. */

typedef struct spar_load_options {
  size_t size;
  spar_precision precision; /* SPAR_BF16 */
  int32_t threads;          /* 0: the processors that this process may use; at most 1024 */
  int32_t pin;              /* 1: bind each worker thread to a processor */
  const char *isa; /* NULL: the best of this machine; else "scalar", "avx2", "avx512", "avx512_bf16", "amx_bf16" */
  const char *dit_position; /* NULL: the checkpoint's setting; else "sincos" or "none" */
} spar_load_options;
SPAR_API void spar_load_options_init(spar_load_options *options);

/* Reads and checks the checkpoint. Components are packed at their first use, or by `spar_prepare`. */
SPAR_API spar_status spar_load(const char *directory, const spar_load_options *options, spar_engine **engine);
/* Packs every component that the checkpoint has, so that the first request is no slower than the next. */
SPAR_API spar_status spar_prepare(spar_engine *engine);
/* Frees the engine; NULL is harmless. No call on it may be running. */
SPAR_API void spar_close(spar_engine *engine);

typedef struct spar_about {
  const char *name; /* of the model; both texts live as long as the engine */
  const char *isa;  /* instruction set of the kernels in use */
  spar_precision precision;
  int32_t threads;
  int32_t picture_size;  /* side of a generated picture, pixels */
  int32_t max_positions; /* tokens of the longest prompt and its answer */
} spar_about;
SPAR_API spar_status spar_describe(const spar_engine *engine, spar_about *about);

/* -- Cancelling. Set it from any thread, also before the call, to end every call that was given it with SPAR_CANCELLED:
 *    within one block of the model once the call has its turn. It stays set until it is cleared, and must outlive the
 *    calls that use it. */
SPAR_API spar_status spar_cancel_create(spar_cancel **cancel);
SPAR_API void spar_cancel_set(spar_cancel *cancel); /* may be called in a signal handler; NULL is harmless */
SPAR_API void spar_cancel_clear(spar_cancel *cancel);
SPAR_API void spar_cancel_free(spar_cancel *cancel);

/* -- Pictures. `pixels` has `height` rows, the first one on top, of `width` pixels of red, green, blue. */
typedef struct spar_picture {
  const uint8_t *pixels;
  int32_t width, height;
  int64_t stride; /* bytes from one row to the next; 0: 3 * width */
} spar_picture;

typedef struct spar_images {
  uint8_t *pixels; /* [count, height, width, 3], no gaps */
  int32_t count, width, height;
} spar_images;
SPAR_API void spar_images_free(spar_images *images); /* and empties it; NULL is harmless */

/* Called after every sampler step; `step` runs from 1 to `total`, `image` from 0. Anything but 0 cancels the call. */
typedef int (*spar_on_step)(void *user, int32_t image, int32_t step, int32_t total);

typedef struct spar_draw_options {
  size_t size;
  const char *negative_prompt; /* NULL: none; takes the prompt's place in the other guidance branch */
  uint64_t seed;               /* 0; the starting noise of docs/noise.md */
  const float *latents; /* NULL: noise of the seed; else [images, channels, rows, columns], a cell for 32 x 32 pixels */
  size_t latents_count; /* numbers in it; all must be finite */
  int32_t steps;        /* 20; 1 .. 1000 */
  int32_t images;       /* 1; up to 64; picture k is the same whatever their number */
  /* NULL: the checkpoint's own, usually 4.5; 1 follows the prompt alone, at half the cost */
  const float *guidance_scale;
  int32_t height, width; /* 0: the model's size; else both, as Python's `size` */
  int32_t full_size;     /* 1: keep the decoder's size instead of 28/32 of it; implied by height and width */
  spar_on_step on_step;  /* NULL: none */
  void *user;            /* passed to on_step */
  spar_cancel *cancel;   /* NULL: none */
} spar_draw_options;
SPAR_API void spar_draw_options_init(spar_draw_options *options);

SPAR_API spar_status spar_generate(spar_engine *engine, const char *prompt, const spar_draw_options *options,
                                   spar_images *images);
/* Changes a picture as the instruction says; it is squashed to the model's square size. */
SPAR_API spar_status spar_edit(spar_engine *engine, const spar_picture *picture, const char *instruction,
                               const spar_draw_options *options, spar_images *images);
/* The map in which every object has a colour of its own; NULL as instruction asks for every object. */
SPAR_API spar_status spar_segment(spar_engine *engine, const spar_picture *picture, const char *instruction,
                                  const spar_draw_options *options, spar_images *map);
/* A picture through the image tokenizer and back. side: of the square that is read, a multiple of the patch pair (28
 * for the published models); 0: the model's. */
SPAR_API spar_status spar_reconstruct(spar_engine *engine, const spar_picture *picture, int32_t side,
                                      spar_cancel *cancel, spar_images *images);

/* Called for every token of an answer, with the characters that it completes: `length` bytes of UTF-8, perhaps none,
 * followed by a 0. Anything but 0 cancels the call. */
typedef int (*spar_on_text)(void *user, const char *text, size_t length);

typedef struct spar_turn {
  const char *question;
  const char *answer;
} spar_turn;

typedef struct spar_ask_options {
  size_t size;
  const spar_turn *history; /* earlier questions about the same picture, and their answers */
  size_t history_count;
  int32_t max_new_tokens; /* 256 */
  int32_t max_tiles;      /* 1 looks at the squashed picture; up to 12 cut it into tiles and add the whole */
  double temperature;     /* 0 is greedy; above it tokens are drawn with top_p and seed */
  double top_p;           /* 1 */
  uint64_t seed;          /* 0 */
  spar_on_text on_text;   /* NULL: none */
  void *user;             /* passed to on_text */
  spar_cancel *cancel;    /* NULL: none */
} spar_ask_options;
SPAR_API void spar_ask_options_init(spar_ask_options *options);

typedef struct spar_answer {
  char *text;      /* UTF-8, ends with a 0 */
  int64_t *tokens; /* its token ids, without the one that ended it */
  int32_t token_count;
  int32_t prompt_tokens;
  int32_t finished; /* 0: stopped by max_new_tokens */
} spar_answer;
SPAR_API void spar_answer_free(spar_answer *answer); /* and empties it; NULL is harmless */

/* Answers a question about a picture; NULL asks without one. */
SPAR_API spar_status spar_ask(spar_engine *engine, const spar_picture *picture, const char *question,
                              const spar_ask_options *options, spar_answer *answer);

#ifdef __cplusplus
}
#endif

#endif
