/* Code points of Japanese texts → where their words begin, the ids of their subwords, how often each word occurs.
 *
 * Words are TinySegmenter's. For each gap between two characters it adds up weights of the six characters around it,
 * of their pairs and triples, of their types (kanji, kana, ...), and of its last three decisions; a word begins where
 * the sum is positive. `prepare` is given the weights as integer tables, which compiled_words.py reads from the
 * installed package: the package says what a word is, this file adds faster. Only `prepare` writes to static memory.
 */
#include <stdlib.h>
#include <string.h>

#include "words.h"

#define API __attribute__((visibility("default")))

enum {
    PLANE = 0x10000,    /* no character of the tables lies beyond the first plane */
    SYMBOLS = 512,      /* characters with a weight of their own, and the marks before and behind a text */
    SYMBOL_BITS = 9,
    TYPE_BITS = 3,
    SPACE = 1 << 12,    /* in `codes`: str.isspace */
    MOST_ROWS = 1024,
    MOST_TRIPLES = 256,
    LONGEST_WORD = 100, /* a longer one is unknown (japanese_subwords.LONGEST_WORD) */
};

/* Of a character: symbol, type << 9, and SPACE. */
static uint16_t codes[PLANE];
static uint16_t marks[6];
static int16_t singles[SYMBOLS][6];
/* A row for each pair of symbols that has weights or begins a triple that has; row 0 for all others. */
static uint16_t rows[SYMBOLS * SYMBOLS];
static int32_t pairs[MOST_ROWS][3];
static int32_t triple_begins[MOST_ROWS + 1];
static Triple triples[MOST_TRIPLES];
/* The bias and all that six types add; all that three decisions and four types add. */
static int32_t by_types[1 << 6 * TYPE_BITS];
static int32_t by_decisions[1 << 6][1 << 4 * TYPE_BITS];

API int64_t type_weights_bytes(void) { return sizeof(TypeWeights); }

API void prepare(const Tables *tables) {
    const TypeWeights *w = tables->types;
    memcpy(codes, tables->codes, sizeof codes);
    memcpy(marks, tables->marks, sizeof marks);
    memcpy(singles, tables->singles, sizeof singles);
    memcpy(rows, tables->rows, sizeof rows);
    memcpy(pairs, tables->pairs, (size_t)tables->row_count * sizeof pairs[0]);
    memcpy(triple_begins, tables->triple_begins, (size_t)(tables->row_count + 1) * sizeof triple_begins[0]);
    memcpy(triples, tables->triples, (size_t)tables->triple_count * sizeof triples[0]);
    for (uint32_t t = 0; t < 1 << 6 * TYPE_BITS; t++) {
        int32_t sum = w->bias;
        for (int k = 0; k < 6; k++) sum += w->unary[k][t >> 3 * (5 - k) & 7];
        for (int k = 0; k < 3; k++) sum += w->binary[k][t >> 3 * (3 - k) & 63];
        for (int k = 0; k < 4; k++) sum += w->ternary[k][t >> 3 * (3 - k) & 511];
        by_types[t] = sum;
    }
    for (uint32_t p = 0; p < 1 << 6; p++) {
        const uint32_t p1 = p >> 4, p2 = p >> 2 & 3, p3 = p & 3;
        const int32_t base = w->last1[0][p1] + w->last1[1][p2] + w->last1[2][p3] + w->last2[0][p >> 2] + w->last2[1][p & 15];
        for (uint32_t t = 0; t < 1 << 4 * TYPE_BITS; t++) {
            const uint32_t c1 = t >> 9, c2 = t >> 6 & 7, c3 = t >> 3 & 7, c12 = t >> 3, c23 = t >> 3 & 63, c34 = t & 63, c234 = t & 511;
            by_decisions[p][t] = base + w->mixed1[0][p1][c1] + w->mixed1[1][p2][c2] + w->mixed1[2][p3][c3]
                + w->mixed2[0][p2][c23] + w->mixed2[1][p2][c34] + w->mixed2[2][p3][c23] + w->mixed2[3][p3][c34]
                + w->mixed3[0][p2][c12] + w->mixed3[1][p2][c234] + w->mixed3[2][p3][c12] + w->mixed3[3][p3][c234];
        }
    }
}

static inline uint32_t code(uint32_t point) { return point < PLANE ? codes[point] : 0; }

static inline int is_space(uint32_t point) { return (code(point) & SPACE) != 0; }

/* The symbol and type at a place of a text; before and behind it stand three marks each. */
static inline uint32_t at(const uint32_t *text, int64_t length, int64_t place) {
    if (place < 0) return marks[3 + place];
    return place < length ? code(text[place]) : marks[3 + place - length];
}

static inline uint32_t symbol(uint32_t code) { return code & (SYMBOLS - 1); }
static inline uint32_t type(uint32_t code) { return code >> SYMBOL_BITS & 7; }
static inline uint32_t row(uint32_t a, uint32_t b) { return rows[symbol(a) << SYMBOL_BITS | symbol(b)]; }

static inline int32_t triple(uint32_t row, uint32_t third, int which) {
    int32_t sum = 0;
    for (int32_t k = triple_begins[row]; k < triple_begins[row + 1]; k++)
        if (triples[k].third == (int32_t)symbol(third)) sum += triples[k].weights[which];
    return sum;
}

static void segment_text(const uint32_t *text, int64_t length, uint8_t *begins) {
    if (length == 0) return;
    begins[0] = 1;
    /* The window around the gap before `place`: w1 … w6 at place - 3 … place + 2. */
    uint32_t w1, w2 = at(text, length, -2), w3 = at(text, length, -1), w4 = at(text, length, 0), w5 = at(text, length, 1),
                 w6 = at(text, length, 2);
    uint32_t types = type(w2) << 12 | type(w3) << 9 | type(w4) << 6 | type(w5) << 3 | type(w6);
    uint32_t r12, r23 = row(w2, w3), r34 = row(w3, w4), r45 = row(w4, w5), r56 = row(w5, w6);
    uint32_t decisions = 0; /* 0 unknown (before the text), 1 a word begins, 2 none does */
    for (int64_t place = 1; place < length; place++) {
        w1 = w2, w2 = w3, w3 = w4, w4 = w5, w5 = w6, w6 = at(text, length, place + 2);
        types = (types << 3 | type(w6)) & ((1 << 6 * TYPE_BITS) - 1);
        r12 = r23, r23 = r34, r34 = r45, r45 = r56, r56 = row(w5, w6);
        int32_t score = by_types[types] + by_decisions[decisions][types >> 2 * TYPE_BITS];
        score += singles[symbol(w1)][0] + singles[symbol(w2)][1] + singles[symbol(w3)][2];
        score += singles[symbol(w4)][3] + singles[symbol(w5)][4] + singles[symbol(w6)][5];
        if (r12 | r23 | r34 | r45) {
            score += pairs[r23][0] + pairs[r34][1] + pairs[r45][2];
            score += triple(r12, w3, 0) + triple(r23, w4, 1) + triple(r34, w5, 2) + triple(r45, w6, 3);
        }
        begins[place] = score > 0;
        decisions = (decisions << 2 | (score > 0 ? 1 : 2)) & 63;
    }
}

/* begins (characters): 1 where a piece of TinySegmenter begins, white space among them. */
API void segment(const uint32_t *points, const int64_t *ends, int64_t texts, uint8_t *begins) {
    memset(begins, 0, texts ? (size_t)ends[texts - 1] : 0);
    for (int64_t text = 0, from = 0; text < texts; from = ends[text++])
        segment_text(points + from, ends[text] - from, begins + from);
}

/* A vocabulary as a trie: (state, character) → state in a hash table, and the id of the entry that ends in a state. */
typedef struct {
    uint64_t mask, *keys;
    uint32_t *targets, states, continued; /* continued: the state behind "##" */
    int32_t *ids, unknown;
    int by_character;
} Vocabulary;

enum { ROOT = 1 };

static inline uint64_t mixed(uint64_t key) {
    key *= 0x9e3779b97f4a7c15u; /* 2^64 / golden ratio: spreads neighbours */
    return key ^ key >> 32;
}

/* The place of a transition in the table: its own, or the empty one where it belongs. */
static inline uint64_t slot(const Vocabulary *v, uint32_t state, uint32_t point) {
    const uint64_t key = (uint64_t)state << 32 | point;
    uint64_t i = mixed(key) & v->mask;
    while (v->keys[i] && v->keys[i] != key) i = (i + 1) & v->mask;
    return i;
}

/* The state behind a character; 0 where no entry continues with it. */
static inline uint32_t step(const Vocabulary *v, uint32_t state, uint32_t point) {
    const uint64_t i = slot(v, state, point);
    return v->keys[i] ? v->targets[i] : 0;
}

API void vocabulary_free(Vocabulary *v) {
    if (!v) return;
    free(v->keys), free(v->targets), free(v->ids), free(v);
}

/* Entry n has the id ids[n]. NULL where memory is short. */
API Vocabulary *vocabulary_new(const Texts *entries, const int32_t *ids, int32_t unknown, int by_character) {
    const uint32_t *points = entries->points;
    const int64_t *ends = entries->ends;
    const uint64_t most = entries->count ? (uint64_t)ends[entries->count - 1] : 0; /* transitions */
    uint64_t size = 16;
    while (size < 2 * most) size *= 2;
    Vocabulary *v = calloc(1, sizeof *v);
    if (!v) return NULL;
    v->mask = size - 1;
    v->keys = calloc(size, sizeof *v->keys);
    v->targets = calloc(size, sizeof *v->targets);
    v->ids = malloc((most + ROOT + 1) * sizeof *v->ids);
    if (!v->keys || !v->targets || !v->ids) return vocabulary_free(v), NULL;
    v->unknown = unknown, v->by_character = by_character, v->states = ROOT + 1;
    v->ids[0] = v->ids[ROOT] = -1;
    for (int64_t entry = 0, from = 0; entry < entries->count; from = ends[entry++]) {
        uint32_t state = ROOT;
        for (int64_t k = from; k < ends[entry]; k++) {
            const uint64_t i = slot(v, state, points[k]);
            if (!v->keys[i]) {
                v->keys[i] = (uint64_t)state << 32 | points[k];
                v->targets[i] = v->states;
                v->ids[v->states++] = -1;
            }
            state = v->targets[i];
        }
        v->ids[state] = ids[entry];
    }
    v->continued = step(v, step(v, ROOT, '#'), '#');
    return v;
}

/* Writes token number `count`; returns how many there are then. */
static inline int64_t put(const Tokens *out, int64_t count, int32_t id, int first, int64_t start, int64_t stop) {
    out->ids[count] = id;
    out->first[count] = (uint8_t)first;
    if (out->starts) out->starts[count] = start, out->stops[count] = stop;
    return count + 1;
}

/* The WordPieces of a word, longest match first; one unknown token where a character has no entry. Returns how many
 * tokens there are then. */
static int64_t put_pieces(const Vocabulary *v, const uint32_t *points, int64_t start, int64_t stop, const Tokens *out,
                          int64_t before) {
    int64_t from = start, count = before;
    while (from < stop && stop - start <= LONGEST_WORD) {
        uint32_t state = from == start ? ROOT : v->continued;
        int64_t end = from;
        int32_t id = -1;
        for (int64_t k = from; k < stop && (state = step(v, state, points[k])); k++)
            if (v->ids[state] >= 0) id = v->ids[state], end = k + 1;
        if (id < 0) break;
        count = put(out, count, id, from == start, from, end);
        from = end;
    }
    return from < stop ? put(out, before, v->unknown, 1, start, stop) : count;
}

/* Tokens of all texts, given where their words begin. White space ends a word and is no token, but in a vocabulary by
 * character that has it. Room for as many tokens as there are characters is enough. Returns how many there are. */
API int64_t look_up(const Vocabulary *v, const Texts *texts, const uint8_t *begins, const Tokens *tokens) {
    const uint32_t *points = texts->points;
    const Tokens out = *tokens;
    int64_t count = 0;
    for (int64_t text = 0, place = 0; text < texts->count; text++) {
        const int64_t end = texts->ends[text];
        int fresh = 1;
        while (place < end) {
            if (v->by_character) {
                const int32_t id = v->ids[step(v, ROOT, points[place])];
                const int space = is_space(points[place]);
                if (id >= 0 || !space)
                    count = put(&out, count, id >= 0 ? id : v->unknown, space | fresh | begins[place], place, place + 1);
                fresh = space;
                place++;
            } else if (is_space(points[place])) {
                place++;
            } else {
                const int64_t start = place++;
                while (place < end && !begins[place] && !is_space(points[place])) place++;
                count = put_pieces(v, points, start, place, &out, count);
            }
        }
        out.ends[text] = count;
    }
    return count;
}

/* Tokens of one text: ids in out[0 …], where they start in out[length …], where they stop in out[2 length …], whether a
 * word begins in out[3 length …]. Returns how many there are, -1 where memory is short. `whole`: not split into words,
 * but at white space. */
API int64_t look_up_text(const Vocabulary *v, const uint32_t *points, int64_t length, int whole, int32_t *out) {
    if (length == 0) return 0;
    int64_t *starts = malloc((size_t)length * (2 * sizeof *starts + 2)), token_ends;
    if (!starts) return -1;
    int64_t *stops = starts + length;
    uint8_t *begins = (uint8_t *)(stops + length), *first = begins + length;
    memset(begins, 0, (size_t)length);
    if (!whole) segment_text(points, length, begins);
    const Texts texts = {points, &length, 1};
    const Tokens tokens = {out, first, starts, stops, &token_ends, 1};
    const int64_t count = look_up(v, &texts, begins, &tokens);
    for (int64_t k = 0; k < count; k++) {
        out[length + k] = (int32_t)starts[k];
        out[2 * length + k] = (int32_t)stops[k];
        out[3 * length + k] = first[k];
    }
    free(starts);
    return count;
}

/* The tokens' entries as text, a space between two of a text, and a line feed behind each text. Entry n is
 * bytes[begins[n]] to bytes[begins[n + 1]]. Returns how many bytes of `out` are written. */
API int64_t join(const uint8_t *bytes, const int64_t *begins, const Tokens *tokens, uint8_t *out) {
    uint8_t *to = out;
    for (int64_t text = 0, k = 0; text < tokens->count; text++) {
        for (const int64_t start = k; k < tokens->ends[text]; k++) {
            const int64_t from = begins[tokens->ids[k]], length = begins[tokens->ids[k] + 1] - from;
            if (k > start) *to++ = ' ';
            memcpy(to, bytes + from, (size_t)length);
            to += length;
        }
        *to++ = '\n';
    }
    return to - out;
}

/* How often each word occurs: words in one array of code points, their numbers in a hash table. */
typedef struct {
    uint32_t *points;
    int64_t *begins, *counts, *table; /* begins has one more than words; table: 1 + number, 0 empty */
    uint64_t *hashes;
    int64_t words, room, point_room, mask;
} Counts;

API void counts_free(Counts *c) {
    if (!c) return;
    free(c->points), free(c->begins), free(c->counts), free(c->table), free(c->hashes), free(c);
}

API Counts *counts_new(void) {
    Counts *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->room = 1 << 12, c->point_room = 1 << 14, c->mask = (1 << 13) - 1;
    c->points = malloc((size_t)c->point_room * sizeof *c->points);
    c->begins = calloc((size_t)c->room + 1, sizeof *c->begins);
    c->counts = malloc((size_t)c->room * sizeof *c->counts);
    c->hashes = malloc((size_t)c->room * sizeof *c->hashes);
    c->table = calloc((size_t)c->mask + 1, sizeof *c->table);
    if (!c->points || !c->begins || !c->counts || !c->hashes || !c->table) return counts_free(c), NULL;
    return c;
}

static int resized(void *pointer, int64_t count, size_t size) {
    void **array = pointer, *moved = realloc(*array, (size_t)count * size);
    if (!moved) return 0;
    *array = moved;
    return 1;
}

/* Room for one more word of `length`: 1, or 0 where memory is short. The table stays at most half full. */
static int make_room(Counts *c, int64_t length) {
    const int64_t needed = c->begins[c->words] + length;
    if (needed > c->point_room) {
        if (!resized(&c->points, 2 * needed, sizeof *c->points)) return 0;
        c->point_room = 2 * needed;
    }
    if (c->words < c->room) return 1;
    const int64_t room = 2 * c->room, mask = 2 * room - 1;
    int64_t *table = calloc((size_t)mask + 1, sizeof *table);
    if (!table || !resized(&c->begins, room + 1, sizeof *c->begins) || !resized(&c->counts, room, sizeof *c->counts) ||
        !resized(&c->hashes, room, sizeof *c->hashes))
        return free(table), 0;
    for (int64_t word = 0; word < c->words; word++) {
        int64_t i = (int64_t)c->hashes[word] & mask;
        while (table[i]) i = (i + 1) & mask;
        table[i] = word + 1;
    }
    free(c->table);
    c->table = table, c->mask = mask, c->room = room;
    return 1;
}

static int count_word(Counts *c, const uint32_t *word, int64_t length) {
    uint64_t hash = 0;
    for (int64_t k = 0; k < length; k++) hash = mixed(hash + word[k] + 1);
    int64_t i = (int64_t)hash & c->mask;
    for (; c->table[i]; i = (i + 1) & c->mask) {
        const int64_t known = c->table[i] - 1, begin = c->begins[known];
        if (c->hashes[known] == hash && c->begins[known + 1] - begin == length &&
            !memcmp(c->points + begin, word, (size_t)length * sizeof *word)) {
            c->counts[known]++;
            return 1;
        }
    }
    const int64_t mask = c->mask;
    if (!make_room(c, length)) return 0;
    if (mask != c->mask)
        for (i = (int64_t)hash & c->mask; c->table[i];) i = (i + 1) & c->mask;
    memcpy(c->points + c->begins[c->words], word, (size_t)length * sizeof *word);
    c->begins[c->words + 1] = c->begins[c->words] + length;
    c->counts[c->words] = 1;
    c->hashes[c->words] = hash;
    c->table[i] = ++c->words;
    return 1;
}

/* Count the words of all texts, cut at white space; one of more than 100 characters is left out. 0: no memory. */
API int counts_add(Counts *c, const Texts *texts, const uint8_t *begins) {
    const uint32_t *points = texts->points;
    for (int64_t text = 0, place = 0; text < texts->count; text++) {
        const int64_t end = texts->ends[text];
        while (place < end) {
            const int64_t start = place++;
            if (is_space(points[start])) continue;
            while (place < end && !begins[place] && !is_space(points[place])) place++;
            if (place - start <= LONGEST_WORD && !count_word(c, points + start, place - start)) return 0;
        }
    }
    return 1;
}

API int64_t counts_words(const Counts *c) { return c->words; }
API const uint32_t *counts_points(const Counts *c) { return c->points; }
API const int64_t *counts_begins(const Counts *c) { return c->begins; }
API const int64_t *counts_values(const Counts *c) { return c->counts; }
