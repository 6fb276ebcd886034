/* The code points of a clean text → its sentences that are kept, as lines of UTF-8, and counts of all.

   The rules are told in sentences.py.
*/

#include <stdbool.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

enum { MET, KEPT, CHARACTERS, TOO_SHORT, TOO_LONG, EQUATION };

static bool ends_sentence(uint32_t point)
{
    return point == 0x3002 || point == '?' || point == '!';
}

/* Does \displaystyle stand in it? */
static bool is_equation(const uint32_t *points, int64_t length)
{
    static const char command[] = "\\displaystyle";
    const int64_t letters = sizeof command - 1;
    for (int64_t at = 0; at + letters <= length; at++) {
        if (points[at] != '\\')
            continue;
        int64_t same = 1;
        while (same < letters && points[at + same] == (uint32_t)command[same])
            same++;
        if (same == letters)
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

/* Split `points` (clean: no lone surrogates), add to `counts`, and write the sentences of `shortest` to `longest`
   characters over the points, a line each; their bytes are returned. A point takes as much memory as its longest UTF-8.
   The line end has its place as the mark that ends a sentence needs less, but for the last sentence of the text, which
   may have none: `points` has room for one more. */
EXPORT int64_t keep(uint32_t *points, int64_t length, int64_t shortest, int64_t longest, int64_t *counts)
{
    uint8_t *out = (uint8_t *)points;
    for (int64_t next = 0; next < length;) {
        int64_t from = next, to;
        while (next < length && !ends_sentence(points[next]))
            next++;
        while (next < length && ends_sentence(points[next]))
            next++;
        to = next;
        while (from < to && points[from] == ' ')
            from++;
        while (to > from && points[to - 1] == ' ')
            to--;
        if (from == to)
            continue;
        counts[MET]++;
        if (to - from < shortest) {
            counts[TOO_SHORT]++;
        } else if (to - from > longest) {
            counts[TOO_LONG]++;
        } else if (is_equation(points + from, to - from)) {
            counts[EQUATION]++;
        } else {
            counts[KEPT]++;
            counts[CHARACTERS] += to - from;
            while (from < to)
                out = encode(points[from++], out);
            *out++ = '\n';
        }
    }
    return out - (uint8_t *)points;
}
