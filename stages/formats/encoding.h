/* The structures that decoding.py hands to encoding.c. Each has a class there: the same fields in the same order. */
#include "examples.h"

/* TFRecord frames from anywhere, of examples with ids below `entries`. */
typedef struct {
    const uint8_t *data;
    int64_t size, entries, by_instruction;
} Records;

/* Room for examples as they are read. `starts` may be NULL; where it is not, examples must be pairs of texts, as
 * masking wants them. */
typedef struct {
    int32_t *ids;
    uint8_t *mask, *segments, *starts;
    int32_t *positions, *labels;
    float *weights;
    int32_t *swapped;
    int64_t count, sequence, predictions;
} Chunk;

/* The bytes that the examples took; what is wrong with the one behind them, if anything is; with which feature. */
typedef struct {
    int64_t bytes;
    int32_t wrong, feature;
} Told;
