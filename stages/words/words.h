/* The structures that compiled_words.py hands to words.c. Triple and TypeWeights are parts of arrays; each of the
 * others has a class there, with the same fields in the same order. */
#include <stdint.h>

typedef struct {
    int32_t third, weights[4];
} Triple;

/* Weights of types and decisions: `unary` of c1…c6, `binary` of c2c3, c3c4, c4c5, `ternary` of c1c2c3, … c4c5c6;
 * `last` of p1, p2, p3 and, 4 × 16, of p1p2 and p2p3; `mixed1` of p1c1, p2c2, p3c3; `mixed2` of p2c2c3, p2c3c4,
 * p3c2c3, p3c3c4; `mixed3` of p2c1c2c3, p2c2c3c4, p3c1c2c3, p3c2c3c4. A decision has two bits, a type three. */
typedef struct {
    int32_t bias, unary[6][8], binary[3][64], ternary[4][512];
    int32_t last1[3][4], last2[2][16], mixed1[3][4][8], mixed2[4][4][64], mixed3[4][4][512];
} TypeWeights;

/* TinySegmenter's weights, as words.c keeps them: `pairs` has `row_count` rows, `triple_begins` one more. */
typedef struct {
    const uint16_t *codes, *marks;
    const int16_t *singles;
    const uint16_t *rows;
    const int32_t *pairs, *triple_begins;
    const Triple *triples;
    const TypeWeights *types;
    int64_t row_count, triple_count;
} Tables;

/* Texts as code points, one behind another; each ends where `ends` says. */
typedef struct {
    const uint32_t *points;
    const int64_t *ends;
    int64_t count;
} Texts;

/* The tokens of texts: ids, whether a word begins at each, their places in the points; where each text's tokens end.
 * `starts` and `stops` may be NULL. */
typedef struct {
    int32_t *ids;
    uint8_t *first;
    int64_t *starts, *stops, *ends, count;
} Tokens;
