/* The raw code points of an article's title and text → the code points of its clean text.

   The order of the rules and what each removes is told in cleaning.py. Every rule takes time linear in the text: an end
   that may be missing is looked for only where it is known to be.

   `forms` says what normalisation makes of each code point: 0 while that is not known, else the point that takes its
   place and these flags. Point and flags of a longer form tell where behind all code points its length and points lie.
*/

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <wchar.h>

#define EXPORT __attribute__((visibility("default")))

#define JOINS 0x80000000u   /* may act on the character before it */
#define LONGER 0x40000000u  /* becomes several */
#define NOTHING 0x20000000u /* leaves nothing that can be printed */
#define DECIMAL 0x10000000u /* a decimal digit of any script */
#define POINT 0x001FFFFFu

/* What Python is to do before it calls again. */
enum { UNKNOWN = -1, JOINED = -2, NO_ROOM = -3 };

_Static_assert(sizeof(wchar_t) == sizeof(uint32_t), "wmemchr searches code points");

struct text {
    const uint32_t *forms;
    uint32_t *points;
    int64_t length;
    int64_t last; /* where the last end of what is being removed begins, -1 without any */
};

/* Write what normalisation makes of `raw` to `points`. Its length, or UNKNOWN, JOINED or NO_ROOM. */
static int64_t normalise(const uint32_t *forms, const uint32_t *raw, int64_t length, bool joined, uint32_t *points,
                         int64_t room)
{
    const uint32_t special = joined ? LONGER | NOTHING : JOINS | LONGER | NOTHING;
    int64_t made = 0;
    if (length > room)
        return NO_ROOM;
    for (int64_t at = 0; at < length; at++) {
        uint32_t form = forms[raw[at]];
        if (form && !(form & special)) {
            points[made++] = form & POINT;
            continue;
        }
        if (form == 0)
            return UNKNOWN;
        if (form & special & JOINS)
            return JOINED;
        if (form & LONGER) {
            const uint32_t *longer = forms + (form & POINT);
            /* There is room for one form each of those to come. */
            if (made + longer[0] + (length - at - 1) > room)
                return NO_ROOM;
            memcpy(points + made, longer + 1, longer[0] * sizeof *points);
            made += longer[0];
        }
    }
    return made;
}

/* Where `wanted` is first met from `from` on; the length where it is not. */
static int64_t find(const struct text *text, int64_t from, uint32_t wanted)
{
    if (from >= text->length)
        return text->length;
    const wchar_t *points = (const wchar_t *)text->points;
    const wchar_t *found = wmemchr(points + from, (wchar_t)wanted, (size_t)(text->length - from));
    return found ? found - points : text->length;
}

static bool stands(const struct text *text, int64_t at, const uint32_t *points, int64_t length)
{
    return length <= text->length - at && memcmp(text->points + at, points, (size_t)length * sizeof *points) == 0;
}

/* Where the last `first` (then `second`, unless 0) begins, or -1. */
static int64_t find_last(const struct text *text, uint32_t first, uint32_t second)
{
    int64_t at = text->length - (second ? 2 : 1);
    while (at >= 0 && (text->points[at] != first || (second && text->points[at + 1] != second)))
        at--;
    return at;
}

/* Remove what begins with `opening` and ends before `end_of`, which gives 0 where there is nothing to remove and may rely
   on `last`, where the last `first` (then `second`, unless 0) begins. */
static void remove_all(struct text *text, uint32_t opening, int64_t (*end_of)(const struct text *, int64_t),
                       uint32_t first, uint32_t second)
{
    int64_t kept = 0, from = 0, at = find(text, 0, opening);
    if (at == text->length)
        return;
    text->last = find_last(text, first, second);
    while (from < text->length) {
        int64_t end = at < text->length ? end_of(text, at) : at;
        if (end == 0) {
            at = find(text, at + 1, opening);
            continue;
        }
        if (kept != from)
            memmove(text->points + kept, text->points + from, (size_t)(at - from) * sizeof *text->points);
        kept += at - from;
        from = end;
        at = find(text, from, opening);
    }
    text->length = kept;
}

/* [12] */
static int64_t end_of_reference(const struct text *text, int64_t at)
{
    int64_t end = at + 1;
    while (end < text->length && (text->forms[text->points[end]] & DECIMAL))
        end++;
    return end > at + 1 && end < text->length && text->points[end] == ']' ? end + 1 : 0;
}

/* [要…], with one character at least behind 要 */
static int64_t end_of_request(const struct text *text, int64_t at)
{
    return at + 3 <= text->last && text->points[at + 1] == 0x8981 ? find(text, at + 3, ']') + 1 : 0;
}

/* {{…}} without braces inside; from the first brace of a run only, which takes the whole run */
static int64_t end_of_template(const struct text *text, int64_t at)
{
    const uint32_t *points = text->points;
    int64_t inside = at, close, end;
    if (at > 0 && points[at - 1] == '{')
        return 0;
    while (inside < text->length && points[inside] == '{')
        inside++;
    close = inside;
    while (close < text->length && points[close] != '{' && points[close] != '}')
        close++;
    end = close;
    while (end < text->length && points[end] == '}')
        end++;
    return inside - at >= 2 && close > inside && end - close >= 2 ? end : 0;
}

/* Where "?]" is first met from `from` on; the length where it is not. */
static int64_t find_question(const struct text *text, int64_t from)
{
    int64_t at = find(text, from, '?');
    while (at + 1 < text->length && text->points[at + 1] != ']')
        at = find(text, at + 1, '?');
    return at + 1 < text->length ? at : text->length;
}

/* [要出典], [リンク切れ], or up to the first "?]" behind one character at least */
static int64_t end_of_mark(const struct text *text, int64_t at)
{
    static const uint32_t source[] = {'[', 0x8981, 0x51FA, 0x5178, ']'};
    static const uint32_t dead_link[] = {'[', 0x30EA, 0x30F3, 0x30AF, 0x5207, 0x308C, ']'};
    if (stands(text, at, source, 5))
        return at + 5;
    if (stands(text, at, dead_link, 7))
        return at + 7;
    return at + 2 <= text->last ? find_question(text, at + 2) + 2 : 0;
}

/* The end of the first `crumb` that does not begin the text, or 0. (Knuth, Morris and Pratt: a title may be of any length
   and repeat itself.) There is a '>' behind the second point; `borders` has room for `length` numbers. */
static int64_t end_of_breadcrumb(const struct text *text, const uint32_t *crumb, int64_t length, uint32_t *borders)
{
    int64_t matched = 0;
    borders[0] = 0;
    for (int64_t at = 1; at < length; at++) {
        while (matched && crumb[at] != crumb[matched])
            matched = borders[matched - 1];
        matched += crumb[at] == crumb[matched];
        borders[at] = (uint32_t)matched;
    }
    matched = 0;
    for (int64_t at = find(text, 2, '>') - 1; at < text->length; at++) {
        while (matched && text->points[at] != crumb[matched])
            matched = borders[matched - 1];
        matched += text->points[at] == crumb[matched];
        if (matched == length)
            return at + 1;
    }
    return 0;
}

/* Where the first " ^ " begins, if something stands behind it; else the length. */
static int64_t find_footnotes(const struct text *text)
{
    static const uint32_t caret[] = {' ', '^', ' '};
    for (int64_t at = find(text, 1, '^'); at < text->length; at = find(text, at + 1, '^'))
        if (stands(text, at - 1, caret, 3))
            return at + 2 < text->length ? at - 1 : text->length;
    return text->length;
}

/* White space → single spaces, none at either end. Among what can be printed, the space is the only white space. */
static void fold_spaces(struct text *text)
{
    uint32_t *points = text->points, before = ' ';
    int64_t kept = 0;
    for (int64_t at = 0; at < text->length; at++) {
        uint32_t point = points[at];
        points[kept] = point;
        kept += point != ' ' || before != ' ';
        before = point;
    }
    text->length = kept - (kept > 0 && before == ' ');
}

/* `raw`: the title (`title` points), then the text (`length` points); `joined`: both are NFKC already. The clean text is
   written to the front of `points`, which has room for `room` points, one more than the text has at least. Its length, or
   UNKNOWN: not all `forms` are known; JOINED: normalise title and text first; NO_ROOM: more is needed. */
EXPORT int64_t clean(const uint32_t *forms, const uint32_t *raw, int64_t title, int64_t length, bool joined,
                     uint32_t *points, int64_t room)
{
    int64_t made = normalise(forms, raw + title, length, joined, points, room - 1);
    if (made < 0)
        return made;
    struct text text = {forms, points, made, -1};
    remove_all(&text, '[', end_of_reference, ']', 0);
    remove_all(&text, '[', end_of_request, ']', 0);
    remove_all(&text, '{', end_of_template, '}', 0);

    if (title > 0 && find(&text, 2, '>') < text.length) {
        /* Behind the text: the breadcrumb, and what its search needs. */
        uint32_t *crumb = points + text.length;
        int64_t half = (room - text.length) / 2;
        if (half < 3)
            return NO_ROOM;
        made = normalise(forms, raw, title, joined, crumb + 3, half - 3);
        if (made < 0)
            return made;
        crumb[0] = crumb[2] = ' ';
        crumb[1] = '>';
        int64_t start = made > 0 ? end_of_breadcrumb(&text, crumb, made + 3, crumb + half) : 0;
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
