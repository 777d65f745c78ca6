// Writes an AVIF of 10 or 12 bits, which Pillow can read but not write: waves, with noise.
// usage: deep_avif FILE BITS FORMAT ALPHA SEED, where FORMAT is 1 for 4:4:4, 2 for 4:2:2, 3 for 4:2:0,
// 4 for grey
#include <avif/avif.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void draw(uint8_t* plane, uint32_t row, int width, int height, int number, int largest) {
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      const double noise = .03 * (rand() % 100) / 100;
      double value = .5 + .35 * sin(x / 5. + number) + .15 * cos(y / 4. * (number + 1)) + noise;
      value = value < 0 ? 0 : value > 1 ? 1 : value;
      ((uint16_t*)(plane + y * row))[x] = (uint16_t)(value * largest);
    }
}

int main(int count, char** arguments) {
  if (count != 6) return 2;
  const int bits = atoi(arguments[2]), format = atoi(arguments[3]), alpha = atoi(arguments[4]);
  const int width = 21, height = 17, largest = (1 << bits) - 1;
  srand((unsigned)atoi(arguments[5]));
  avifImage* image = avifImageCreate(width, height, bits, (avifPixelFormat)format);
  image->colorPrimaries = 1, image->transferCharacteristics = 13, image->matrixCoefficients = 6;
  avifImageAllocatePlanes(image, alpha ? AVIF_PLANES_ALL : AVIF_PLANES_YUV);
  for (int p = 0; p < (format == 4 ? 1 : 3); ++p)
    draw(image->yuvPlanes[p], image->yuvRowBytes[p], p && format >= 2 ? (width + 1) / 2 : width,
         p && format == 3 ? (height + 1) / 2 : height, p, largest);
  if (alpha) draw(image->alphaPlane, image->alphaRowBytes, width, height, 3, largest);
  avifEncoder* encoder = avifEncoderCreate();
  encoder->speed = 8;
  avifRWData output = AVIF_DATA_EMPTY;
  if (avifEncoderWrite(encoder, image, &output) != AVIF_RESULT_OK) return 1;
  FILE* file = fopen(arguments[1], "wb");
  return file == NULL || fwrite(output.data, 1, output.size, file) != output.size ||
         fclose(file) != 0;
}
