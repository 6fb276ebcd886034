/* The structures that examples.py hands to examples.c. Instance and Shape are rows of arrays; each of the others has a
 * class there, with the same fields in the same order. */
#include <stdint.h>

/* A row of a plan: A and B as ranges of tokens, and whether they are swapped. */
typedef struct {
    int64_t a_begin, a_end, b_begin, b_end, swapped;
} Instance;

/* Of an example: its length, the position of its first [SEP], how many tokens are masked, whether it is swapped. */
typedef struct {
    int32_t length, separator, predicted, swapped;
} Shape;

/* Passes over a block. Where the sentences begin in the tokens, and the documents in the sentences; each with the end
 * of the last. `room`: tokens of an instance; `short_share`: of the documents that are cut into shorter ones. `counts`:
 * examples.COUNTS. */
typedef struct {
    const int64_t *sentences, *documents;
    int64_t *counts, document_count, copies, room;
    double short_share;
} Passes;

/* Tokens of a block, and whether a word begins at each. */
typedef struct {
    const int32_t *ids;
    const uint8_t *starts;
} Tokens;

/* How tokens are masked: `budgets` by length; `weights` cumulative, by n up to `longest`. `counts`: examples.COUNTS. */
typedef struct {
    const int32_t *replacements, *budgets;
    const double *weights;
    int64_t *counts, replacement_count, longest;
    int32_t cls, sep, mask, unknown;
} Masking;

/* Examples: ids and word starts (count, sequence); positions and labels of the masked tokens (count, predictions). */
typedef struct {
    int32_t *ids;
    uint8_t *starts;
    Shape *shapes;
    int32_t *positions, *labels;
    int64_t count, sequence, predictions;
} Examples;
