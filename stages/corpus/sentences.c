/* The code points of a clean text → the sentences to keep, as lines of UTF-8, and counts. The rules: sentences.py. */

#include <stdbool.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

enum { READ, KEPT, CHARACTERS, TOO_SHORT, TOO_LONG, EQUATION };

static bool ends_sentence(uint32_t point)
{
    return point == 0x3002 || point == '?' || point == '!';
}

/* Whether the sentence contains \displaystyle. */
static bool is_equation(const uint32_t *points, int64_t length)
{
    static const char command[] = "\\displaystyle";
    const int64_t letters = sizeof command - 1;
    for (int64_t start = 0; start + letters <= length; start++) {
        if (points[start] != '\\')
            continue;
        int64_t matched = 1;
        while (matched < letters && points[start + matched] == (uint32_t)command[matched])
            matched++;
        if (matched == letters)
            return true;
    }
    return false;
}

static uint8_t *encode(uint32_t point, uint8_t *out)
{
    if (point >= 0x800 && point < 0x10000) {
        out[0] = (uint8_t)(0xE0 | point >> 12);
        out[1] = (uint8_t)(0x80 | (point >> 6 & 0x3F));
        out[2] = (uint8_t)(0x80 | (point & 0x3F));
        return out + 3;
    }
    if (point < 0x80) {
        out[0] = (uint8_t)point;
        return out + 1;
    }
    if (point < 0x800) {
        out[0] = (uint8_t)(0xC0 | point >> 6);
        out[1] = (uint8_t)(0x80 | (point & 0x3F));
        return out + 2;
    }
    out[0] = (uint8_t)(0xF0 | point >> 18);
    out[1] = (uint8_t)(0x80 | (point >> 12 & 0x3F));
    out[2] = (uint8_t)(0x80 | (point >> 6 & 0x3F));
    out[3] = (uint8_t)(0x80 | (point & 0x3F));
    return out + 4;
}

/* Split `points` (clean, without lone surrogates) and add to `counts`. Write each sentence of `shortest` to `longest`
   characters as a line over the points, and return the number of bytes. A point takes as many bytes as its longest
   UTF-8. A line end fits because what ends a sentence needs less. The last sentence may have no end: `points` has room
   for one more point. */
EXPORT int64_t keep(uint32_t *points, int64_t length, int64_t shortest, int64_t longest, int64_t *counts)
{
    uint8_t *out = (uint8_t *)points;
    for (int64_t next = 0; next < length;) {
        int64_t start = next, end;
        while (next < length && !ends_sentence(points[next]) && points[next] != '\n')
            next++;
        while (next < length && ends_sentence(points[next]))
            next++;
        end = next;
        next += next < length && points[next] == '\n';
        while (start < end && points[start] == ' ')
            start++;
        while (end > start && points[end - 1] == ' ')
            end--;
        if (start == end)
            continue;
        counts[READ]++;
        if (end - start < shortest) {
            counts[TOO_SHORT]++;
        } else if (end - start > longest) {
            counts[TOO_LONG]++;
        } else if (is_equation(points + start, end - start)) {
            counts[EQUATION]++;
        } else {
            counts[KEPT]++;
            counts[CHARACTERS] += end - start;
            while (start < end)
                out = encode(points[start++], out);
            *out++ = '\n';
        }
    }
    return out - (uint8_t *)points;
}
