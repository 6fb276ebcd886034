/* The raw code points of an article's title and text → the code points of its clean text.

   cleaning.py describes the rules and their order. Every rule takes time linear in the text: an end that may be missing
   is searched for only where it is known to exist.

   `forms` holds the normal form of each code point: 0 if it is not filled in yet, else the code point that replaces it,
   and flags. For a form of several code points, the value without flags is the index in `forms` of its length, which
   the code points follow.
*/

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <wchar.h>

#define EXPORT __attribute__((visibility("default")))

#define JOINS 0x80000000u   /* may combine with the character before it */
#define LONGER 0x40000000u  /* has a form of several code points */
#define NOTHING 0x20000000u /* has no printable form */
#define DECIMAL 0x10000000u /* is a decimal digit of any script */
#define POINT 0x001FFFFFu

/* Results that make Python act and call again. */
enum { UNKNOWN = -1, JOINING = -2, NO_ROOM = -3 };

_Static_assert(sizeof(wchar_t) == sizeof(uint32_t), "wmemchr searches code points");

struct text {
    const uint32_t *forms;
    uint32_t *points;
    int64_t length;
    int64_t last; /* the start of the last end mark of the current rule, -1 without one */
};

/* Write the normal form of `raw` to `points`. Returns its length, or UNKNOWN, JOINING or NO_ROOM. */
static int64_t normalise(const uint32_t *forms, const uint32_t *raw, int64_t length, bool normalised, uint32_t *points,
                         int64_t room)
{
    const uint32_t special = normalised ? LONGER | NOTHING : JOINS | LONGER | NOTHING;
    int64_t size = 0;
    if (length > room)
        return NO_ROOM;
    for (int64_t i = 0; i < length; i++) {
        uint32_t form = forms[raw[i]];
        if (form && !(form & special)) {
            points[size++] = form & POINT;
            continue;
        }
        if (form == 0)
            return UNKNOWN;
        if (form & special & JOINS)
            return JOINING;
        if (form & LONGER) {
            const uint32_t *longer = forms + (form & POINT);
            /* Keep room for one code point for each of the rest. */
            if (size + longer[0] + (length - i - 1) > room)
                return NO_ROOM;
            memcpy(points + size, longer + 1, longer[0] * sizeof *points);
            size += longer[0];
        }
    }
    return size;
}

/* The first index of `point` from `start` on, the length if there is none. */
static int64_t find(const struct text *text, int64_t start, uint32_t point)
{
    if (start >= text->length)
        return text->length;
    const wchar_t *points = (const wchar_t *)text->points;
    const wchar_t *match = wmemchr(points + start, (wchar_t)point, (size_t)(text->length - start));
    return match ? match - points : text->length;
}

static bool matches(const struct text *text, int64_t start, const uint32_t *points, int64_t length)
{
    return length <= text->length - start && memcmp(text->points + start, points, (size_t)length * sizeof *points) == 0;
}

/* The last index of `first` (followed by `second`, unless that is 0), or -1. */
static int64_t find_last(const struct text *text, uint32_t first, uint32_t second)
{
    int64_t i = text->length - (second ? 2 : 1);
    while (i >= 0 && (text->points[i] != first || (second && text->points[i + 1] != second)))
        i--;
    return i;
}

/* A normal form has no other white space. */
static bool is_space(uint32_t point)
{
    return point == ' ' || point == '\n';
}

/* Remove every range that starts with `opening` and ends before the result of `end_of`. A result of 0 means no removal.
   `end_of` may use text->last, the last index of `first` (followed by `second`, unless that is 0). */
static void remove_all(struct text *text, uint32_t opening, int64_t (*end_of)(const struct text *, int64_t),
                       uint32_t first, uint32_t second)
{
    int64_t target = 0, source = 0, start = find(text, 0, opening);
    if (start == text->length)
        return;
    text->last = find_last(text, first, second);
    while (source < text->length) {
        int64_t end = start < text->length ? end_of(text, start) : start;
        if (end == 0) {
            start = find(text, start + 1, opening);
            continue;
        }
        if (target != source)
            memmove(text->points + target, text->points + source, (size_t)(start - source) * sizeof *text->points);
        target += start - source;
        source = end;
        start = find(text, source, opening);
    }
    text->length = target;
}

/* [12] */
static int64_t end_of_reference(const struct text *text, int64_t start)
{
    int64_t end = start + 1;
    while (end < text->length && (text->forms[text->points[end]] & DECIMAL))
        end++;
    return end > start + 1 && end < text->length && text->points[end] == ']' ? end + 1 : 0;
}

/* [要…], with at least one character after 要 */
static int64_t end_of_request(const struct text *text, int64_t start)
{
    return start + 3 <= text->last && text->points[start + 1] == 0x8981 ? find(text, start + 3, ']') + 1 : 0;
}

/* {{…}} without inner braces, with all braces of a run; only the first brace of a run counts as a start */
static int64_t end_of_template(const struct text *text, int64_t start)
{
    const uint32_t *points = text->points;
    int64_t inside = start, close, end;
    if (start > 0 && points[start - 1] == '{')
        return 0;
    while (inside < text->length && points[inside] == '{')
        inside++;
    close = inside;
    while (close < text->length && points[close] != '{' && points[close] != '}')
        close++;
    end = close;
    while (end < text->length && points[end] == '}')
        end++;
    return inside - start >= 2 && close > inside && end - close >= 2 ? end : 0;
}

/* The first index of "?]" from `start` on, the length if there is none. */
static int64_t find_question(const struct text *text, int64_t start)
{
    int64_t i = find(text, start, '?');
    while (i + 1 < text->length && text->points[i + 1] != ']')
        i = find(text, i + 1, '?');
    return i + 1 < text->length ? i : text->length;
}

/* [要出典], [リンク切れ], or up to the first "?]" after at least one character */
static int64_t end_of_mark(const struct text *text, int64_t start)
{
    static const uint32_t source[] = {'[', 0x8981, 0x51FA, 0x5178, ']'};
    static const uint32_t dead_link[] = {'[', 0x30EA, 0x30F3, 0x30AF, 0x5207, 0x308C, ']'};
    if (matches(text, start, source, 5))
        return start + 5;
    if (matches(text, start, dead_link, 7))
        return start + 7;
    return start + 2 <= text->last ? find_question(text, start + 2) + 2 : 0;
}

/* The end of the first `crumb` that is not at the start of the text, or 0. Knuth-Morris-Pratt: a title may be of any
   length and repeat itself. The text has a '>' after its second point. `borders` has room for `length` numbers. */
static int64_t end_of_breadcrumb(const struct text *text, const uint32_t *crumb, int64_t length, uint32_t *borders)
{
    int64_t matched = 0;
    borders[0] = 0;
    for (int64_t i = 1; i < length; i++) {
        while (matched && crumb[i] != crumb[matched])
            matched = borders[matched - 1];
        matched += crumb[i] == crumb[matched];
        borders[i] = (uint32_t)matched;
    }
    matched = 0;
    for (int64_t i = find(text, 2, '>') - 1; i < text->length; i++) {
        while (matched && text->points[i] != crumb[matched])
            matched = borders[matched - 1];
        matched += text->points[i] == crumb[matched];
        if (matched == length)
            return i + 1;
    }
    return 0;
}

/* The start of the first " ^ " if any text follows it, else the length. A line end may stand in place of a space. */
static int64_t find_footnotes(const struct text *text)
{
    for (int64_t i = find(text, 1, '^'); i < text->length; i = find(text, i + 1, '^'))
        if (is_space(text->points[i - 1]) && i + 1 < text->length && is_space(text->points[i + 1]))
            return i + 2 < text->length ? i - 1 : text->length;
    return text->length;
}

/* White space → a line end where it has one, else a space; none at either end. */
static void fold_spaces(struct text *text)
{
    uint32_t *points = text->points;
    int64_t length = 0;
    bool after_space = false;
    for (int64_t i = 0; i < text->length; i++) {
        uint32_t point = points[i];
        if (is_space(point) && (after_space || length == 0)) {
            if (point == '\n' && length > 0)
                points[length - 1] = point;
            continue;
        }
        points[length++] = point;
        after_space = is_space(point);
    }
    text->length = length - after_space;
}

/* Write the clean text to the front of `points`. `raw`: the title (`title` points), then the text (`length` points).
   `normalised`: both are NFKC already. `room`: the size of `points`, of which one point stays free. Returns the length
   of the clean text, or UNKNOWN: some `forms` are not filled in; JOINING: normalise title and text first; NO_ROOM. */
EXPORT int64_t clean(const uint32_t *forms, const uint32_t *raw, int64_t title, int64_t length, bool normalised,
                     uint32_t *points, int64_t room)
{
    int64_t size = normalise(forms, raw + title, length, normalised, points, room - 1);
    if (size < 0)
        return size;
    struct text text = {forms, points, size, -1};
    remove_all(&text, '[', end_of_reference, ']', 0);
    remove_all(&text, '[', end_of_request, ']', 0);
    remove_all(&text, '{', end_of_template, '}', 0);

    if (title > 0 && find(&text, 2, '>') < text.length) {
        /* The space after the text holds the breadcrumb and the borders of its search. */
        uint32_t *crumb = points + text.length;
        int64_t half = (room - text.length) / 2;
        if (half < 3)
            return NO_ROOM;
        size = normalise(forms, raw, title, normalised, crumb + 3, half - 3);
        if (size < 0)
            return size;
        crumb[0] = crumb[2] = ' ';
        crumb[1] = '>';
        int64_t start = size > 0 ? end_of_breadcrumb(&text, crumb, size + 3, crumb + half) : 0;
        text.points += start;
        text.length -= start;
    }
    text.length = find_footnotes(&text);
    remove_all(&text, '[', end_of_mark, '?', ']');
    fold_spaces(&text);
    if (text.points != points)
        memmove(points, text.points, (size_t)text.length * sizeof *points);
    return text.length;
}
