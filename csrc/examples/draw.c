/* Draws a picture, asks about it, and writes it as PPM:
 *
 *     cc -std=c99 -Icsrc/include csrc/examples/draw.c -Lbuild/capi -lspar -o draw
 *     ./draw engine/assets/spar-nano "three yellow stars on a navy background" "How many stars are there?" picture.ppm
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "spar.h"

static int show_step(void *user, int32_t image, int32_t step, int32_t total) {
  (void)user, (void)image;
  fprintf(stderr, "\rstep %" PRId32 " of %" PRId32, step, total);
  return 0; /* anything else would cancel */
}

static int show_text(void *user, const char *text, size_t length) {
  fwrite(text, 1, length, (FILE *)user);
  fflush((FILE *)user);
  return 0;
}

static int write_ppm(const char *path, const spar_images *images) {
  const size_t bytes = (size_t)images->width * (size_t)images->height * 3;
  FILE *file = fopen(path, "wb");
  int whole;
  if (!file) return 0;
  fprintf(file, "P6\n%" PRId32 " %" PRId32 "\n255\n", images->width, images->height);
  whole = fwrite(images->pixels, 1, bytes, file) == bytes;
  return !fclose(file) && whole;
}

int main(int argc, char **argv) {
  spar_engine *engine = NULL;
  spar_images images = {0};
  spar_answer answer = {0};
  spar_picture picture = {0};
  spar_load_options load;
  spar_draw_options draw;
  spar_ask_options ask;
  spar_status status;

  if (argc != 5) {
    fprintf(stderr, "usage: %s CHECKPOINT PROMPT QUESTION PICTURE.ppm\n", argv[0]);
    return 2;
  }
  spar_load_options_init(&load);
  spar_draw_options_init(&draw);
  spar_ask_options_init(&ask);
  draw.seed = 7;
  draw.steps = 8;
  draw.on_step = show_step;
  ask.max_new_tokens = 32;
  ask.on_text = show_text;
  ask.user = stdout;

  status = spar_load(argv[1], &load, &engine);
  if (!status) status = spar_generate(engine, argv[2], &draw, &images);
  if (!status) {
    fputc('\n', stderr);
    picture.pixels = images.pixels;
    picture.width = images.width;
    picture.height = images.height;
    status = spar_ask(engine, &picture, argv[3], &ask, &answer);
  }
  if (status)
    fprintf(stderr, "%s\n", spar_error());
  else
    putchar('\n');
  if (!status && !write_ppm(argv[4], &images)) {
    perror(argv[4]);
    status = SPAR_INPUT;
  }
  spar_answer_free(&answer);
  spar_images_free(&images);
  spar_close(engine);
  return status ? EXIT_FAILURE : EXIT_SUCCESS;
}
