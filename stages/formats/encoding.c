/* Masked examples as integer arrays → the bytes of tf.train.Examples in TFRecord frames, and back.
 *
 * The wire format of tensorflow/core/example/{example,feature}.proto, written directly: an Example holds Features, a
 * map from a feature's name to a list of packed numbers. A TFRecord is the length of a record, the checksum of the
 * length, the record, its checksum. encoding.py checks every length before it calls. What is read back may come from
 * anywhere: `decode` takes every encoding that the format allows, and reads nothing beyond its end.
 */
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <nmmintrin.h>
#endif

#include "encoding.h"

#define API __attribute__((visibility("default")))

/* ---- Checksums: CRC-32C (polynomial 0x1EDC6F41, reflected), masked as TensorFlow does ---- */

/* Row n: what a byte does to the checksum once n more bytes have followed. */
static uint32_t table[8][256];

__attribute__((constructor)) static void fill_table(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78 : 0);
        table[0][byte] = crc;
    }
    for (int row = 1; row < 8; row++)
        for (int byte = 0; byte < 256; byte++)
            table[row][byte] = table[row - 1][byte] >> 8 ^ table[0][table[row - 1][byte] & 255];
}

static uint32_t crc_by_table(const uint8_t *data, int64_t size, uint32_t crc) {
    for (; size >= 8; data += 8, size -= 8) {
        crc ^= data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
        crc = table[7][crc & 255] ^ table[6][crc >> 8 & 255] ^ table[5][crc >> 16 & 255] ^ table[4][crc >> 24] ^
              table[3][data[4]] ^ table[2][data[5]] ^ table[1][data[6]] ^ table[0][data[7]];
    }
    for (; size; data++, size--)
        crc = crc >> 8 ^ table[0][(crc ^ *data) & 255];
    return crc;
}

#if defined(__x86_64__)
/* Compiled for SSE 4.2, so that the rest of the library runs on every processor of the platform. */
__attribute__((target("crc32"))) static uint32_t crc_by_instruction(const uint8_t *data, int64_t size, uint32_t crc) {
    uint64_t wide = crc;
    for (; size >= 8; data += 8, size -= 8) {
        uint64_t eight;
        memcpy(&eight, data, 8);
        wide = _mm_crc32_u64(wide, eight);
    }
    crc = (uint32_t)wide;
    for (; size; data++, size--)
        crc = _mm_crc32_u8(crc, *data);
    return crc;
}

API int32_t has_crc_instruction(void) {
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && ecx & bit_SSE4_2;
}
#else
static uint32_t crc_by_instruction(const uint8_t *data, int64_t size, uint32_t crc) {
    return crc_by_table(data, size, crc);
}

API int32_t has_crc_instruction(void) { return 0; }
#endif

API uint32_t checksum(const uint8_t *data, int64_t size, int32_t by_instruction) {
    uint32_t crc = ~(by_instruction ? crc_by_instruction : crc_by_table)(data, size, ~0u);
    return (crc >> 15 | crc << 17) + 0xA282EAD8;
}

/* ---- Examples ---- */

enum Feature {
    INPUT_IDS,
    INPUT_MASK,
    SEGMENT_IDS,
    TOKEN_BOUNDARY,
    POSITIONS,
    LABELS,
    WEIGHTS,
    NEXT_SENTENCE,
    FEATURES,
};

static const char *const names[FEATURES] = {
    "input_ids",           "input_mask",    "segment_ids",       "token_boundary",
    "masked_lm_positions", "masked_lm_ids", "masked_lm_weights", "next_sentence_labels",
};

/* Every number written is below 2^21 (encoding.MOST): three bytes are enough. */
static int32_t varint_size(int32_t value) { return 1 + (value > 0x7F) + (value > 0x3FFF); }

static uint8_t *put_little_endian(uint8_t *at, uint32_t value) {
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
    at[2] = (uint8_t)(value >> 16);
    at[3] = (uint8_t)(value >> 24);
    return at + 4;
}

/* A varint's bytes, from the lowest up. */
static uint32_t varint(int32_t value) {
    return (uint32_t)((value & 0x7F) | (value & 0x3F80) << 1 | value >> 14 << 16 | (value > 0x7F) << 7 |
                      (value > 0x3FFF) << 15);
}

/* Writes four bytes and moves on by those that count: no branch that the ids would mislead. */
static uint8_t *put_varint(uint8_t *at, int32_t value) {
    put_little_endian(at, varint(value));
    return at + varint_size(value);
}

static int32_t varints_size(const int32_t *values, int32_t count) {
    int32_t size = 0;
    for (int32_t index = 0; index < count; index++)
        size += varint_size(values[index]);
    return size;
}

/* Bytes and sizes first: compilers make vector instructions of that loop. 0.75 µs for 512 ids, 1.3 µs one by one. */
static uint8_t *put_varints(uint8_t *at, const int32_t *values, int32_t count) {
    enum { AT_ONCE = 64 };
    uint32_t bytes[AT_ONCE];
    int32_t sizes[AT_ONCE];
    for (int32_t first = 0; first < count; first += AT_ONCE) {
        int32_t here = count - first < AT_ONCE ? count - first : AT_ONCE;
        for (int32_t index = 0; index < here; index++) {
            bytes[index] = varint(values[first + index]);
            sizes[index] = varint_size(values[first + index]);
        }
        for (int32_t index = 0; index < here; index++) {
            put_little_endian(at, bytes[index]);
            at += sizes[index];
        }
    }
    return at;
}

static uint8_t *put_bytes(uint8_t *at, uint8_t byte, int32_t count) {
    memset(at, byte, (size_t)count);
    return at + count;
}

/* A field of wire type 2: tag, length, payload. */
static int32_t field_size(int32_t payload) { return 1 + varint_size(payload) + payload; }

/* All of it but the payload. */
static uint8_t *put_field(uint8_t *at, int number, int32_t payload) {
    *at++ = (uint8_t)(number << 3 | 2);
    return put_varint(at, payload);
}

/* An entry of the map: its name, and a Feature that holds a list that holds the packed payload. */
static int32_t entry_size(enum Feature feature, int32_t payload) {
    return field_size((int32_t)strlen(names[feature])) + field_size(field_size(field_size(payload)));
}

/* All of it but the payload. */
static uint8_t *put_entry(uint8_t *at, enum Feature feature, int32_t payload) {
    int32_t name = (int32_t)strlen(names[feature]);
    at = put_field(at, 1, entry_size(feature, payload));
    at = put_field(at, 1, name);
    memcpy(at, names[feature], (size_t)name);
    at = put_field(at + name, 2, field_size(field_size(payload)));
    at = put_field(at, feature == WEIGHTS ? 2 : 3, field_size(payload)); /* FloatList, or Int64List */
    return put_field(at, 1, payload);
}

static uint8_t *put_example(uint8_t *at, const Examples *examples, int64_t row) {
    const Shape *shape = &examples->shapes[row];
    const int32_t sequence = (int32_t)examples->sequence, predictions = (int32_t)examples->predictions;
    const int32_t *ids = examples->ids + row * sequence;
    const int32_t *positions = examples->positions + row * predictions, *labels = examples->labels + row * predictions;
    const int32_t payloads[FEATURES] = {
        [INPUT_IDS] = varints_size(ids, sequence),
        [INPUT_MASK] = sequence,
        [SEGMENT_IDS] = sequence,
        [TOKEN_BOUNDARY] = sequence,
        [POSITIONS] = varints_size(positions, predictions),
        [LABELS] = varints_size(labels, predictions),
        [WEIGHTS] = 4 * predictions,
        [NEXT_SENTENCE] = 1,
    };
    int32_t total = 0;
    for (int feature = 0; feature < FEATURES; feature++)
        total += field_size(entry_size((enum Feature)feature, payloads[feature]));
    at = put_field(at, 1, total);

    at = put_entry(at, INPUT_IDS, payloads[INPUT_IDS]);
    at = put_varints(at, ids, sequence);
    at = put_entry(at, INPUT_MASK, sequence);
    at = put_bytes(at, 1, shape->length);
    at = put_bytes(at, 0, sequence - shape->length);
    at = put_entry(at, SEGMENT_IDS, sequence);
    at = put_bytes(at, 0, shape->separator + 1);
    at = put_bytes(at, 1, shape->length - shape->separator - 1);
    at = put_bytes(at, 0, sequence - shape->length);
    at = put_entry(at, TOKEN_BOUNDARY, sequence);
    memcpy(at, examples->starts + row * sequence, (size_t)sequence);
    at = put_entry(at + sequence, POSITIONS, payloads[POSITIONS]);
    at = put_varints(at, positions, predictions);
    at = put_entry(at, LABELS, payloads[LABELS]);
    at = put_varints(at, labels, predictions);
    at = put_entry(at, WEIGHTS, payloads[WEIGHTS]);
    for (int32_t slot = 0; slot < predictions; slot++)
        at = put_little_endian(at, slot < shape->predicted ? 0x3F800000 : 0); /* 1.0f or 0.0f */
    at = put_entry(at, NEXT_SENTENCE, 1);
    return put_varint(at, shape->swapped);
}

/* Returns how many bytes of `out` were filled. */
API int64_t encode(const Examples *examples, int32_t by_instruction, uint8_t *out) {
    uint8_t *at = out;
    for (int64_t row = 0; row < examples->count; row++) {
        uint8_t *record = at + 12;
        uint8_t *end = put_example(record, examples, row);
        uint32_t size = (uint32_t)(end - record);
        put_little_endian(put_little_endian(at, size), 0);
        put_little_endian(at + 8, checksum(at, 8, by_instruction));
        at = put_little_endian(end, checksum(record, size, by_instruction));
    }
    return at - out;
}

/* ---- And back ---- */

/* Why a record is none: decoding.py says it in words. */
enum Wrong { RIGHT, LENGTH_CHECKSUM, RECORD_CHECKSUM, NO_EXAMPLE, NO_PAIR, NOT_SO_MANY, OUT_OF_RANGE };

/* Longer frames hold no example: a damaged length would have the reader wait for gigabytes. */
enum { LONGEST_RECORD = 1 << 24 };

/* The bytes that are left of a message. */
typedef struct {
    const uint8_t *at, *end;
} Bytes;

/* A field of a message: its number and wire type; `payload` where it has a length, `value` where it is a varint. */
typedef struct {
    uint64_t number, value;
    int wire;
    Bytes payload;
} Field;

enum { VARINT = 0, EIGHT_BYTES = 1, DELIMITED = 2, FOUR_BYTES = 5 };

static int take_varint(Bytes *bytes, uint64_t *value) {
    uint64_t found = 0;
    for (int shift = 0; shift < 64 && bytes->at < bytes->end; shift += 7) {
        uint8_t byte = *bytes->at++;
        found |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            *value = found;
            return 1;
        }
    }
    return 0;
}

static int take_field(Bytes *bytes, Field *field) {
    uint64_t tag, size = 0;
    if (!take_varint(bytes, &tag))
        return 0;
    field->number = tag >> 3;
    field->wire = (int)(tag & 7);
    if (!field->number)
        return 0;
    if (field->wire == VARINT)
        return take_varint(bytes, &field->value);
    if (field->wire == DELIMITED) {
        if (!take_varint(bytes, &size))
            return 0;
    } else if (field->wire == EIGHT_BYTES || field->wire == FOUR_BYTES) {
        size = field->wire == EIGHT_BYTES ? 8 : 4;
    } else {
        return 0;
    }
    if (size > (uint64_t)(bytes->end - bytes->at))
        return 0;
    field->payload = (Bytes){bytes->at, bytes->at + size};
    bytes->at += size;
    return 1;
}

/* Where a feature's numbers go: `most` of them, each below `limit`. One of int32, bytes and float. */
typedef struct {
    int32_t *numbers;
    uint8_t *bytes;
    float *floats;
    int64_t most, count;
    uint64_t limit;
} Target;

static enum Wrong put_number(Target *target, uint64_t number) {
    if (target->count >= target->most)
        return NOT_SO_MANY;
    if (number >= target->limit)
        return OUT_OF_RANGE;
    if (target->numbers)
        target->numbers[target->count] = (int32_t)number;
    else
        target->bytes[target->count] = (uint8_t)number;
    target->count++;
    return RIGHT;
}

static enum Wrong put_floats(Target *target, Bytes bytes) {
    int64_t count = (bytes.end - bytes.at) / 4;
    if ((bytes.end - bytes.at) % 4)
        return NO_EXAMPLE;
    if (target->count + count > target->most)
        return NOT_SO_MANY;
    for (; bytes.at < bytes.end; bytes.at += 4) {
        uint32_t bits = bytes.at[0] | (uint32_t)bytes.at[1] << 8 | (uint32_t)bytes.at[2] << 16 | (uint32_t)bytes.at[3] << 24;
        float value;
        memcpy(&value, &bits, 4);
        /* A weight; what is no number is no weight either. */
        if (!(value >= 0 && value <= 1))
            return OUT_OF_RANGE;
        target->floats[target->count++] = value;
    }
    return RIGHT;
}

/* Packed numbers. Most are flags, a byte each, taken eight at a time, and ids of one to three bytes. */
static enum Wrong put_packed(Target *target, Bytes bytes) {
    const uint8_t *at = bytes.at, *end = bytes.end;
    if (target->bytes) { /* every limit of a flag is 2 */
        for (; end - at >= 8 && target->most - target->count >= 8; at += 8, target->count += 8) {
            uint64_t eight;
            memcpy(&eight, at, 8);
            if (eight & ~0x0101010101010101u)
                break;
            memcpy(target->bytes + target->count, &eight, 8);
        }
    } else {
        int32_t *out = target->numbers + target->count, *most = target->numbers + target->most;
        for (; end - at >= 3 && out < most; out++) {
            uint32_t number = at[0] & 0x7F;
            int32_t size = 1;
            if (at[0] & 0x80) {
                number |= (uint32_t)(at[1] & 0x7F) << 7;
                size = 2;
                if (at[1] & 0x80) {
                    number |= (uint32_t)at[2] << 14;
                    size = 3;
                    if (at[2] & 0x80)
                        break;
                }
            }
            if (number >= target->limit)
                return OUT_OF_RANGE;
            *out = (int32_t)number;
            at += size;
        }
        target->count = out - target->numbers;
    }
    bytes.at = at;
    enum Wrong wrong = RIGHT;
    uint64_t number;
    while (bytes.at < bytes.end && !wrong)
        wrong = take_varint(&bytes, &number) ? put_number(target, number) : NO_EXAMPLE;
    return wrong;
}

/* A list of numbers, packed or one by one. */
static enum Wrong put_list(Target *target, Bytes list) {
    Field field;
    enum Wrong wrong = RIGHT;
    while (list.at < list.end && !wrong) {
        if (!take_field(&list, &field))
            return NO_EXAMPLE;
        if (field.number != 1)
            continue;
        if (target->floats) {
            wrong = field.wire == DELIMITED || field.wire == FOUR_BYTES ? put_floats(target, field.payload) : NO_EXAMPLE;
        } else if (field.wire == VARINT) {
            wrong = put_number(target, field.value);
        } else if (field.wire == DELIMITED) {
            wrong = put_packed(target, field.payload);
        } else {
            return NO_EXAMPLE;
        }
    }
    return wrong;
}

/* An entry of the map from names to features; one whose name nobody asked for is left out. */
static enum Wrong put_feature(Target *targets, Bytes entry, int *which) {
    Field field;
    Bytes name = {0, 0}, feature = {0, 0};
    while (entry.at < entry.end) {
        if (!take_field(&entry, &field) || (field.number <= 2 && field.wire != DELIMITED))
            return NO_EXAMPLE;
        if (field.number == 1)
            name = field.payload;
        if (field.number == 2)
            feature = field.payload;
    }
    for (*which = 0; *which < FEATURES; ++*which)
        if (name.end - name.at == (int64_t)strlen(names[*which]) &&
            !memcmp(name.at, names[*which], (size_t)(name.end - name.at)))
            break;
    if (*which == FEATURES || !targets[*which].most)
        return RIGHT;
    Target *target = &targets[*which];
    /* A name that comes again: the last one counts. */
    target->count = 0;
    while (feature.at < feature.end) {
        if (!take_field(&feature, &field))
            return NO_EXAMPLE;
        if (field.number > 3)
            continue;
        if (field.wire != DELIMITED || field.number != (target->floats ? 2 : 3))
            return NO_EXAMPLE;
        enum Wrong wrong = put_list(target, field.payload);
        if (wrong)
            return wrong;
    }
    return RIGHT;
}

static enum Wrong put_record(Target *targets, Bytes record, int *which) {
    Field field;
    *which = FEATURES;
    for (int feature = 0; feature < FEATURES; feature++)
        targets[feature].count = 0;
    while (record.at < record.end) {
        if (!take_field(&record, &field))
            return NO_EXAMPLE;
        if (field.number != 1)
            continue;
        if (field.wire != DELIMITED)
            return NO_EXAMPLE;
        Bytes features = field.payload;
        while (features.at < features.end) {
            if (!take_field(&features, &field))
                return NO_EXAMPLE;
            if (field.number != 1)
                continue;
            enum Wrong wrong = field.wire == DELIMITED ? put_feature(targets, field.payload, which) : NO_EXAMPLE;
            if (wrong)
                return wrong;
        }
    }
    for (*which = 0; *which < FEATURES; ++*which)
        if (targets[*which].count != targets[*which].most)
            return NOT_SO_MANY;
    return RIGHT;
}

/* How often `flag` stands from `begin` on. */
static int64_t run_of(const uint8_t *flags, int64_t begin, int64_t end, uint8_t flag) {
    int64_t at = begin;
    while (at < end && flags[at] == flag)
        at++;
    return at - begin;
}

/* Whether it is `[CLS] A [SEP] B [SEP]` and padding, of which both parts have a token. */
static int is_pair(const uint8_t *mask, const uint8_t *segments, int64_t sequence) {
    int64_t length = run_of(mask, 0, sequence, 1), first = run_of(segments, 0, sequence, 0);
    return length + run_of(mask, length, sequence, 0) == sequence && first >= 3 && length - first >= 2 &&
           first + run_of(segments, first, sequence, 1) == length &&
           length + run_of(segments, length, sequence, 0) == sequence;
}

static uint64_t little_endian(const uint8_t *at, int bytes) {
    uint64_t value = 0;
    for (int byte = bytes - 1; byte >= 0; byte--)
        value = value << 8 | at[byte];
    return value;
}

/* Fills `chunk` with the examples of the whole frames, until it is full. Returns their number. */
API int64_t decode(const Records *records, const Chunk *chunk, Told *told) {
    const uint8_t *at = records->data, *end = at + records->size;
    const int64_t sequence = chunk->sequence, predictions = chunk->predictions;
    const uint64_t entries = (uint64_t)records->entries;
    const int32_t by_instruction = (int32_t)records->by_instruction;
    int64_t row = 0;
    told->wrong = RIGHT;
    for (; row < chunk->count && end - at >= 12; row++) {
        uint64_t length = little_endian(at, 8);
        if (checksum(at, 8, by_instruction) != little_endian(at + 8, 4) || length > LONGEST_RECORD) {
            told->wrong = LENGTH_CHECKSUM;
            break;
        }
        if ((uint64_t)(end - at) < 16 + length)
            break;
        const uint8_t *record = at + 12;
        if (checksum(record, (int64_t)length, by_instruction) != little_endian(record + length, 4)) {
            told->wrong = RECORD_CHECKSUM;
            break;
        }
        const int64_t tokens = row * sequence, slots = row * predictions;
        uint8_t *mask = chunk->mask + tokens, *segments = chunk->segments + tokens;
        uint8_t *starts = chunk->starts ? chunk->starts + tokens : 0;
        Target targets[FEATURES] = {
            [INPUT_IDS] = {.numbers = chunk->ids + tokens, .most = sequence, .limit = entries},
            [INPUT_MASK] = {.bytes = mask, .most = sequence, .limit = 2},
            [SEGMENT_IDS] = {.bytes = segments, .most = sequence, .limit = 2},
            [TOKEN_BOUNDARY] = {.bytes = starts, .most = starts ? sequence : 0, .limit = 2},
            [POSITIONS] = {.numbers = chunk->positions + slots, .most = predictions, .limit = (uint64_t)sequence},
            [LABELS] = {.numbers = chunk->labels + slots, .most = predictions, .limit = entries},
            [WEIGHTS] = {.floats = chunk->weights + slots, .most = predictions},
            [NEXT_SENTENCE] = {.numbers = chunk->swapped + row, .most = 1, .limit = 2},
        };
        told->wrong = put_record(targets, (Bytes){record, record + length}, &told->feature);
        if (!told->wrong && starts && !is_pair(mask, segments, sequence))
            told->wrong = NO_PAIR;
        if (told->wrong)
            break;
        at = record + length + 4;
    }
    told->bytes = at - records->data;
    return row;
}
