/* The tokens of a block of articles → training instances as ranges of tokens → masked examples as integer arrays.
 *
 * `plan` makes the ranges, `mask` the examples. The rules are told in examples.py, which also checks every
 * length and range before it calls. All draws come from a bit generator of numpy, through the C interface that
 * numpy/random/bitgen.h publishes.
 */
#include <string.h>

#include "examples.h"

#define API __attribute__((visibility("default")))

enum {
    LONGEST = 1 << 16, /* tokens of an example (examples.LONGEST); positions and words fit uint16_t */
};

/* bitgen_t of numpy. */
typedef struct {
    void *state;
    uint64_t (*next_uint64)(void *state);
    uint32_t (*next_uint32)(void *state);
    double (*next_double)(void *state);
    uint64_t (*next_raw)(void *state);
} Generator;

static double uniform(const Generator *generator) { return generator->next_double(generator->state); }

static int coin(const Generator *generator) { return generator->next_uint32(generator->state) >> 31; }

/* An integer from 0 to limit - 1, each equally likely: the upper half of a draw times the limit. The draws are not spread
 * evenly over the upper halves where 2^32 is no multiple of the limit; leaving out those with the smallest lower halves
 * (2^32 mod limit of them) makes them even (Lemire 2019, "Fast Random Integer Generation in an Interval"). */
static uint32_t below(const Generator *generator, uint32_t limit) {
    uint64_t product = (uint64_t)generator->next_uint32(generator->state) * limit;
    if ((uint32_t)product < limit) {
        uint32_t uneven = (UINT32_MAX - limit + 1) % limit;
        while ((uint32_t)product < uneven)
            product = (uint64_t)generator->next_uint32(generator->state) * limit;
    }
    return (uint32_t)(product >> 32);
}

/* What is counted, before the n-grams by length (examples.COUNTS). */
enum { EXAMPLES, SWAPPED, TOKENS, UNKNOWN, MASKED, SHORT_OF_BUDGET, UNPAIRED, NGRAMS };

/* ---- Instances ---- */

/* B is text of another document: `wanted` tokens at least, as far as it has them. */
static void take_elsewhere(const Generator *generator, const Passes *passes, int64_t document, int64_t wanted,
                           Instance *made) {
    int64_t other = below(generator, (uint32_t)(passes->document_count - 1));
    other += other >= document;
    int64_t first = passes->documents[other], last = passes->documents[other + 1];
    int64_t begin = first + below(generator, (uint32_t)(last - first));
    int64_t end = begin + 1;
    while (end < last && passes->sentences[end] - passes->sentences[begin] < wanted)
        end++;
    made->b_begin = passes->sentences[begin];
    made->b_end = passes->sentences[end];
}

/* The longer part loses a token from its front or its end, until both fit. */
static void truncate_to(const Generator *generator, int64_t room, Instance *made) {
    for (;;) {
        int64_t a = made->a_end - made->a_begin, b = made->b_end - made->b_begin;
        if (a + b <= room)
            return;
        int front = coin(generator);
        if (a > b) {
            made->a_begin += front;
            made->a_end -= !front;
        } else {
            made->b_begin += front;
            made->b_end -= !front;
        }
    }
}

/* The instances of one pass over a document; returns how many. */
static int64_t cut_document(const Generator *generator, const Passes *passes, int64_t document, Instance *out) {
    const int64_t *sentences = passes->sentences, room = passes->room;
    int64_t target = room;
    if (uniform(generator) < passes->short_share)
        target = 2 + below(generator, (uint32_t)(room - 1));
    int64_t made = 0, begin = passes->documents[document], last = passes->documents[document + 1] - 1;
    for (int64_t end = begin; end <= last; end++) {
        if (end < last && sentences[end + 1] - sentences[begin] < target)
            continue;
        int64_t from = sentences[begin], to = sentences[end + 1], cut = 0;
        if (end > begin)
            cut = sentences[begin + 1 + below(generator, (uint32_t)(end - begin))];
        else if (passes->document_count == 1 && to - from > 1)
            cut = from + 1 + below(generator, (uint32_t)(to - from - 1));
        begin = end + 1;
        Instance *row = &out[made];
        if (cut && coin(generator)) {
            *row = (Instance){cut, to, from, cut, 1};
        } else if (cut) {
            *row = (Instance){from, cut, cut, to, 0};
        } else if (passes->document_count > 1) {
            *row = (Instance){from, to, 0, 0, 1};
            take_elsewhere(generator, passes, document, target - (to - from), row);
        } else {
            passes->counts[UNPAIRED]++;
            continue;
        }
        truncate_to(generator, room, row);
        made++;
    }
    return made;
}

/* Returns how many instances there are. */
API int64_t plan(const Generator *generator, const Passes *passes, Instance *out) {
    int64_t made = 0;
    for (int64_t copy = 0; copy < passes->copies; copy++)
        for (int64_t document = 0; document < passes->document_count; document++)
            made += cut_document(generator, passes, document, out + made);
    for (int64_t row = made - 1; row > 0; row--) {
        int64_t other = below(generator, (uint32_t)(row + 1));
        Instance held = out[row];
        out[row] = out[other];
        out[other] = held;
    }
    return made;
}

/* ---- Masking ---- */

/* Where the words of an example begin. `[SEP]` stands among them as one that is never chosen, so that each word ends
 * where the next begins: words of A, `[SEP]`, words of B, `[SEP]`. */
typedef struct {
    uint16_t begins[LONGEST];
    int32_t in_first, total; /* words of A; of A and B */
} Words;

/* The words of a part, [begin, end); its first token begins one, wherever truncation has cut. Returns their number. */
static int32_t part_words(const uint8_t *starts, int32_t begin, int32_t end, uint16_t *begins) {
    int32_t words = 1;
    begins[0] = (uint16_t)begin;
    for (int32_t position = begin + 1; position < end; position++) {
        begins[words] = (uint16_t)position;
        words += starts[position];
    }
    return words;
}

static void find_words(const uint8_t *starts, int32_t separator, int32_t length, Words *words) {
    words->in_first = part_words(starts, 1, separator, words->begins);
    uint16_t *behind = words->begins + words->in_first;
    *behind++ = (uint16_t)separator;
    int32_t in_second = part_words(starts, separator + 1, length - 1, behind);
    behind[in_second] = (uint16_t)(length - 1);
    words->total = words->in_first + in_second;
}

/* Masks the n words from `word` on, or none where one of them is masked already; returns how many tokens. */
static int32_t mask_words(const Words *words, int32_t word, int32_t n, uint8_t *masked) {
    int32_t begin = words->begins[word], size = words->begins[word + n] - begin;
    if (memchr(masked + begin, 1, (size_t)size))
        return 0;
    memset(masked + begin, 1, (size_t)size);
    return size;
}

/* Chooses the words to mask: sets `masked` (length,), returns how many tokens that are. */
static int32_t choose(const Generator *generator, const Masking *masking, const Words *words, int32_t most,
                      uint8_t *masked) {
    uint16_t order[LONGEST];
    const uint16_t *begins = words->begins;
    const double *weights = masking->weights;
    int64_t *ngrams = masking->counts + NGRAMS;
    int32_t done = 0, longest = (int32_t)masking->longest;
    for (int32_t visit = 0; visit < words->total; visit++)
        order[visit] = (uint16_t)(visit + (visit >= words->in_first));
    for (int32_t visit = 0; visit < words->total && done < most; visit++) {
        int32_t other = visit + (int32_t)below(generator, (uint32_t)(words->total - visit));
        uint16_t word = order[other];
        order[other] = order[visit];
        order[visit] = word;
        int32_t available = (word < words->in_first ? words->in_first : words->total + 1) - word;
        if (available > longest)
            available = longest;
        double draw = uniform(generator) * weights[available - 1];
        int32_t n = 1;
        while (n < available && draw >= weights[n - 1])
            n++;
        while (n > 1 && done + begins[word + n] - begins[word] > most)
            n--;
        if (done + begins[word + n] - begins[word] > most)
            continue;
        int32_t size = mask_words(words, word, n, masked);
        done += size;
        ngrams[n - 1] += size > 0;
    }
    for (int32_t visit = 0; visit < words->total && done < most; visit++) {
        uint16_t word = order[visit];
        if (done + begins[word + 1] - begins[word] > most)
            continue;
        int32_t size = mask_words(words, word, 1, masked);
        done += size;
        ngrams[0] += size > 0;
    }
    return done;
}

/* Replaces the masked tokens in `ids`; fills positions and labels, in order. */
static void replace(const Generator *generator, const Masking *masking, const uint8_t *masked, int32_t length,
                    int32_t *ids, int32_t *positions, int32_t *labels) {
    const uint8_t *end = masked + length, *found = masked;
    while ((found = memchr(found, 1, (size_t)(end - found)))) {
        int32_t position = (int32_t)(found++ - masked);
        *positions++ = position;
        *labels++ = ids[position];
        double draw = uniform(generator);
        if (draw < 0.8)
            ids[position] = masking->mask;
        else if (draw >= 0.9)
            ids[position] = masking->replacements[below(generator, (uint32_t)masking->replacement_count)];
    }
}

/* Makes the example of a row `[CLS] A [SEP] B [SEP]` and zeros: its ids, word starts and shape. */
static void fill(const Tokens *tokens, const Instance *instance, const Masking *masking, const Examples *examples,
                 int64_t row) {
    int64_t sequence = examples->sequence;
    int32_t *ids = examples->ids + row * sequence;
    uint8_t *starts = examples->starts + row * sequence;
    int32_t a = (int32_t)(instance->a_end - instance->a_begin), b = (int32_t)(instance->b_end - instance->b_begin);
    Shape shape = {a + b + 3, a + 1, 0, (int32_t)instance->swapped};
    ids[0] = masking->cls;
    memcpy(ids + 1, tokens->ids + instance->a_begin, (size_t)a * sizeof *ids);
    ids[shape.separator] = masking->sep;
    memcpy(ids + shape.separator + 1, tokens->ids + instance->b_begin, (size_t)b * sizeof *ids);
    ids[shape.length - 1] = masking->sep;
    memset(ids + shape.length, 0, (size_t)(sequence - shape.length) * sizeof *ids);
    memset(starts, 0, (size_t)sequence);
    memcpy(starts + 1, tokens->starts + instance->a_begin, (size_t)a);
    memcpy(starts + shape.separator + 1, tokens->starts + instance->b_begin, (size_t)b);
    starts[0] = starts[shape.separator] = starts[shape.length - 1] = 1;
    examples->shapes[row] = shape;
}

/* Masks the example of a row: replaces in its ids, fills its positions and labels, and how many there are. */
static void mask_example(const Generator *generator, const Masking *masking, const Examples *examples, int64_t row) {
    Words words;
    uint8_t masked[LONGEST];
    Shape *shape = &examples->shapes[row];
    int64_t tokens = row * examples->sequence, slots = row * examples->predictions;
    int32_t *positions = examples->positions + slots, *labels = examples->labels + slots;
    memset(masked, 0, (size_t)shape->length);
    find_words(examples->starts + tokens, shape->separator, shape->length, &words);
    shape->predicted = choose(generator, masking, &words, masking->budgets[shape->length], masked);
    replace(generator, masking, masked, shape->length, examples->ids + tokens, positions, labels);
}

/* Zeros, where fewer tokens are masked than there is room for. */
static void clear(const Examples *examples) {
    size_t slots = (size_t)(examples->count * examples->predictions);
    memset(examples->positions, 0, slots * sizeof *examples->positions);
    memset(examples->labels, 0, slots * sizeof *examples->labels);
}

/* Makes an example of each instance. */
API void mask(const Generator *generator, const Tokens *tokens, const Instance *instances, const Masking *masking,
              const Examples *examples) {
    int64_t *counts = masking->counts;
    clear(examples);
    for (int64_t row = 0; row < examples->count; row++) {
        fill(tokens, &instances[row], masking, examples, row);
        const Shape *shape = &examples->shapes[row];
        const int32_t *ids = examples->ids + row * examples->sequence;
        int32_t unknown = 0;
        for (int32_t position = 0; position < shape->length; position++)
            unknown += ids[position] == masking->unknown;
        mask_example(generator, masking, examples, row);
        counts[EXAMPLES]++;
        counts[SWAPPED] += shape->swapped;
        counts[TOKENS] += shape->length;
        counts[UNKNOWN] += unknown;
        counts[MASKED] += shape->predicted;
        counts[SHORT_OF_BUDGET] += shape->predicted < masking->budgets[shape->length];
    }
}

/* Masks examples that are whole already: ids without a masked token, of which the shapes give lengths and separators. */
API void mask_whole(const Generator *generator, const Masking *masking, const Examples *examples) {
    clear(examples);
    for (int64_t row = 0; row < examples->count; row++)
        mask_example(generator, masking, examples, row);
}
