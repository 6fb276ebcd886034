"""The page at `/` in a Chromium without a window, against the real service: what a person sees, hears and can do."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.serve.conftest import Service

TEXT = "𠮷野家で㌔の[MASK]を見たよ。"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no chromium on this machine; apt-get install chromium fonts-noto-cjk")
    with sync_playwright() as playwright:
        # Chromium has no sandbox for root.
        flags = ["--no-sandbox"] if os.getuid() == 0 else []
        started = playwright.chromium.launch(executable_path=program, args=flags)
        yield started
        started.close()


@contextmanager
def opened(browser: Browser, service: Service, address: str = "/", fails: str = "^$", **options: Any) -> Iterator[Page]:
    """The page, once its first text is drawn. Nothing may be fetched from elsewhere, nor go wrong but what `fails`."""
    wrong: list[str] = []
    context = browser.new_context(**{"locale": "ja-JP", **options})
    page = context.new_page()
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith(service.address) else wrong.append(asked.url))
    page.goto(service.address + address)
    page.wait_for_selector(".token")
    yield page
    context.close()
    assert not [line for line in wrong if not re.search(fails, line)]


def drawn(page: Page, panel: int) -> list[list[str]]:
    """The words of a panel, each a list of tokens."""
    words = page.locator(".panel").nth(panel).locator(".word")
    return [word.locator(".token > span").all_inner_texts() for word in words.all()]


def write(page: Page, text: str) -> None:
    """Write a text, other than the one before in length, and wait until it is drawn."""
    page.fill("#text", text)
    for summary in page.locator(".summary").all():
        expect(summary).to_have_text(re.compile(f"^{len(text)} "))
    expect(page.locator("body")).not_to_have_class(re.compile("busy"))


def test_words_and_tokens_are_those_of_the_api_for_both_kinds(browser: Browser, service: Service) -> None:
    with opened(browser, service) as page:
        write(page, TEXT)
        for panel, model in enumerate(("wordpiece_tinysegmenter/tiny", "character/tiny")):
            encoded = service.post("/v1/encode", {"text": TEXT, "model": model}).json
            words: dict[Any, list[str]] = {}
            for place, (token, number) in enumerate(zip(encoded["tokens"], encoded["word_ids"], strict=True)):
                start, end = encoded["offsets"][place]
                shown = TEXT[start:end] if token == "[UNK]" else token
                words.setdefault(place if number is None else (number,), []).append(shown)
            assert drawn(page, panel) == list(words.values())
            counts = f"{len(TEXT)} 文字 · {len(words) - 2} 単語 · {len(encoded['tokens']) - 2} トークン"
            expect(page.locator(".summary").nth(panel)).to_contain_text(counts)


def test_a_token_shows_its_id_and_place_and_marks_it_in_the_other_panel(browser: Browser, service: Service) -> None:
    with opened(browser, service) as page:
        write(page, TEXT)
        character = page.locator(".panel").nth(1)
        character.locator(".token", has_text="家").hover()
        encoded = service.post("/v1/encode", {"text": TEXT, "model": "character/tiny"}).json
        place = encoded["offsets"].index([2, 3])
        said = f"「家」 ID {encoded['input_ids'][place]}、位置 2–3「家」"
        expect(character.locator(".detail")).to_contain_text(said)
        marked = page.locator(".panel").nth(0).locator(".token.marked > span").all_inner_texts()
        assert "家" in "".join(marked)


def test_the_keyboard_is_enough(browser: Browser, service: Service) -> None:
    with opened(browser, service) as page:
        write(page, "山と[MASK]。")
        tokens = page.locator(".panel").nth(0).locator(".token")
        page.locator(".panel").nth(0).locator("select").focus()
        page.keyboard.press("Tab")
        expect(tokens.nth(0)).to_be_focused()
        page.keyboard.press("ArrowRight")
        expect(tokens.nth(1)).to_be_focused()
        expect(tokens.nth(1)).to_have_attribute("aria-selected", "true")
        page.keyboard.press("End")
        expect(tokens.last).to_be_focused()
        page.keyboard.press("Tab")
        fill = page.locator(".panel").nth(0).locator(".fill").nth(0)
        expect(fill).to_be_focused()
        entry = fill.locator("span").nth(0).inner_text()
        page.keyboard.press("Enter")
        expect(page.locator("#text")).to_have_value(f"山と{entry.removeprefix('##')}。")
        expect(page.locator(".fill")).to_have_count(0)


def test_masks_are_filled_with_bars_as_long_as_their_scores(browser: Browser, service: Service) -> None:
    with opened(browser, service) as page:
        write(page, "😀と[MASK]と[MASK]")
        panel = page.locator(".panel").nth(1)
        answer = service.post("/v1/fill-mask", {"text": "😀と[MASK]と[MASK]", "top_k": 8}).json
        fills = [fill for mask in answer["masks"] for fill in mask["fills"]]
        expect(panel.locator("h3")).to_have_count(2)
        for button, fill in zip(panel.locator(".fill").all(), fills, strict=True):
            assert button.locator("span").nth(0).inner_text() == fill["token"]
            assert button.locator(".score").inner_text() == f"{100 * fill['score']:.1f} %"
            width = float(str(button.locator("i").get_attribute("style")).split()[1].rstrip("%;"))
            assert width == pytest.approx(100 * fill["score"], abs=1e-3)
        panel.locator(".fill").last.click()
        expect(page.locator("#text")).to_have_value(f"😀と[MASK]と{fills[-1]['token']}")


def test_a_link_brings_the_text_back(browser: Browser, service: Service) -> None:
    with opened(browser, service, permissions=["clipboard-read", "clipboard-write"]) as page:
        write(page, "共有する文 & #😀")
        page.locator("select").nth(0).select_option("character/tiny")
        page.get_by_role("button", name="English").click()
        page.get_by_role("button", name="Copy link").click()
        expect(page.locator("#share")).to_have_text("Copied")
        link = page.evaluate("navigator.clipboard.readText()")
        expect(page.locator("#share")).to_have_text("Copy link")
    assert link.startswith(service.address + "/#")
    with opened(browser, service, link.removeprefix(service.address)) as page:
        expect(page.locator("#text")).to_have_value("共有する文 & #😀")
        assert page.locator("select").nth(0).input_value() == "character/tiny"
        assert page.evaluate("document.documentElement.lang") == "en"
        page.goto(service.address + "/#text=" + "山")
        expect(page.locator("#text")).to_have_value("山")
    # All of it stands behind the #.
    assert "共有" not in service.log.read_text(encoding="utf-8")


def test_both_languages(browser: Browser, service: Service) -> None:
    with opened(browser, service, locale="en-US") as page:
        assert page.evaluate("document.documentElement.lang") == "en"
        expect(page.get_by_role("heading", level=1)).to_have_text("Japanese tokenizer")
        expect(page.locator("#text")).to_have_attribute("lang", "ja")
        page.get_by_role("button", name="日本語").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("日本語トークナイザー")
        assert page.title() == "日本語トークナイザー"
        assert page.evaluate("document.documentElement.lang") == "ja"
        shown = page.locator("body").inner_text()
        assert not re.search(r"characters|tokens|Insert|Clear", shown)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier(browser: Browser, service: Service, scheme: str) -> None:
    # axe is evaluated in the page, which the page's own policy does not allow.
    with opened(browser, service, color_scheme=scheme, bypass_csp=True) as page:
        write(page, TEXT)
        page.check("#ids")
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_no_screen_is_scrolled_sideways(browser: Browser, service: Service, width: int) -> None:
    with opened(browser, service, viewport={"width": width, "height": 700}) as page:
        write(page, "山" * 20 + "a" * 30 + "[MASK]" + "川")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        small = page.evaluate(
            "[...document.querySelectorAll('button, select, a, .token')].filter(each => {"
            " const { width, height } = each.getBoundingClientRect(); return Math.min(width, height) < 24;"
            "}).map(each => each.textContent)"
        )
        assert small == []


def test_what_somebody_types_is_text_and_nothing_else(browser: Browser, service: Service) -> None:
    text = "<img src=x onerror=alert(1)><script>alert(1)</script>[MASK]"
    with opened(browser, service) as page:
        write(page, text)
        assert page.locator(".panel img, .panel script").count() == 0
        assert "".join("".join(word) for word in drawn(page, 1)[1:-1]) == text.replace(" ", "")


def test_errors_are_a_line_and_go_away(browser: Browser, service: Service) -> None:
    with opened(browser, service, fails="^Failed to load resource") as page:
        page.route("**/v1/encode", lambda route: route.abort())
        page.fill("#text", "山")
        expect(page.get_by_role("alert")).to_have_text("サーバーに届きません。動いているか確かめてください。")
        page.unroute("**/v1/encode")
        page.route("**/v1/encode", lambda route: route.fulfill(status=503, body="{}"))
        page.fill("#text", "山川")
        expect(page.get_by_role("alert")).to_contain_text("混んでいます")
        page.unroute("**/v1/encode")
        write(page, "山川海")
        expect(page.locator("#error")).to_be_hidden()
        write(page, "山" * 100 + "[MASK]")
        expect(page.locator(".masks").nth(1)).to_contain_text("一度に読める長さより長い")
        page.fill("#text", "山" * 100_001)
        expect(page.get_by_role("alert")).to_have_text("文が長すぎます。短くしてください。")


def test_a_late_answer_does_not_overwrite_a_newer_one(browser: Browser, service: Service) -> None:
    with opened(browser, service) as page:
        late: list[Any] = []

        def hold(route: Any) -> None:
            if "遅い" in (route.request.post_data or ""):
                late.append(route)
            else:
                route.continue_()

        page.route("**/v1/encode", hold)
        page.fill("#text", "遅い文")
        for _ in range(200):
            page.wait_for_timeout(50)
            if late:
                break
        assert late
        write(page, "新しい文だ")
        for route in late:
            route.continue_()
        page.wait_for_timeout(300)
        assert "".join("".join(word) for word in drawn(page, 1)[1:-1]).startswith("新し")


def test_a_long_text_is_cut_in_the_drawing_alone(browser: Browser, service: Service) -> None:
    with opened(browser, service) as page:
        write(page, "山川" * 4000)
        assert page.locator(".panel").nth(1).locator(".token").count() == 5000
        expect(page.locator(".cut").nth(1)).to_contain_text("8002 トークンのうち最初の 5000")
        page.get_by_role("button", name="リンクをコピー").click()
        expect(page.locator("#share")).to_have_text("文が長すぎて、リンクに入りません。")


def test_the_empty_text_is_no_error(browser: Browser, service: Service) -> None:
    with opened(browser, service) as page:
        page.get_by_role("button", name="消す").click()
        expect(page.locator(".summary").nth(0)).to_have_text("0 文字 · 0 単語 · 0 トークン")
        expect(page.locator("#error")).to_be_hidden()
        page.get_by_role("button", name="[MASK] を入れる").click()
        expect(page.locator("#text")).to_have_value("[MASK]")
        expect(page.locator(".fill")).to_have_count(16)


def test_a_page_whose_server_was_away_keeps_its_link_and_goes_on(browser: Browser, service: Service) -> None:
    context = browser.new_context(locale="ja-JP")
    page = context.new_page()
    page.route("**/v1/models", lambda route: route.abort())
    page.goto(service.address + "/#text=共有&models=character%2Ftiny&lang=en")
    expect(page.get_by_role("alert")).to_have_text("The server cannot be reached. Is it running?")
    expect(page.locator("#text")).to_have_value("共有")
    page.unroute("**/v1/models")
    write(page, "共有する")
    expect(page.locator(".summary")).to_have_text(re.compile("^4 characters"))
    assert page.locator("select").input_value() == "character/tiny"
    expect(page.locator("#error")).to_be_hidden()
    context.close()


def test_a_filling_of_an_older_text_changes_nothing(browser: Browser, service: Service) -> None:
    with opened(browser, service, fails="^Failed to load resource") as page:
        write(page, "山と[MASK]")
        expect(page.locator(".fill")).to_have_count(16)
        page.route("**/v1/*", lambda route: route.abort())
        page.fill("#text", "川と海と[MASK]")
        expect(page.get_by_role("alert")).to_be_visible()
        page.locator(".fill").nth(0).click()
        expect(page.locator("#text")).to_have_value("川と海と[MASK]")


def test_a_page_without_a_clipboard_says_where_the_link_is(browser: Browser, service: Service) -> None:
    with opened(browser, service) as page:
        # As for a page of another machine without TLS.
        page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
        page.get_by_role("button", name="リンクをコピー").click()
        expect(page.locator("#share")).to_have_text("アドレス欄のリンクをコピーしてください")


def test_a_screen_reader_is_told_once_and_in_one_language(browser: Browser, service: Service) -> None:
    with opened(browser, service, locale="en-US") as page:
        expect(page.get_by_role("status")).to_contain_text("16 characters")
        page.evaluate(
            "window.told = []; new MutationObserver(() => told.push(document.getElementById('status').textContent))"
            ".observe(document.getElementById('status'), { childList: true })"
        )
        page.fill("#text", "")
        page.locator("#text").press_sequentially("😀[MASK]", delay=60)
        expect(page.get_by_role("status")).to_contain_text("7 characters")
        [told] = page.evaluate("told")
        best = page.locator(".panel").nth(1).locator(".fill span").nth(0).inner_text()
        assert told.count("7 characters") == 2
        assert f"for [MASK] number 1 “{best}”" in told
        name = page.get_by_role("option", name="[UNK]").nth(0).get_attribute("aria-label")
        assert re.fullmatch(r"“\[UNK\]” id 1, at 0–1 “😀”, begins a word, not in the vocabulary", str(name))


def test_tab_comes_back_to_the_token_that_was_chosen(browser: Browser, service: Service) -> None:
    with opened(browser, service) as page:
        write(page, "山と川と海")
        token = page.locator(".panel").nth(0).locator(".token").nth(3)
        token.click()
        page.keyboard.press("Shift+Tab")
        expect(page.locator("select").nth(0)).to_be_focused()
        page.keyboard.press("Tab")
        expect(token).to_be_focused()


@pytest.mark.parametrize("number", [1, 2])
def test_one_model_has_one_panel_and_two_of_a_kind_have_two(browser: Browser, service: Service, number: int) -> None:
    # The service has one model of each kind: the page is told that both are of characters.
    models = [{**model, "subword_tokenizer_type": "character"} for model in service.get("/v1/models").json["models"]]
    context = browser.new_context(locale="ja-JP")
    page = context.new_page()
    page.route("**/v1/models", lambda route: route.fulfill(json={"models": models[:number]}))
    page.goto(service.address)
    expect(page.locator(".panel h2")).to_have_text(["単語を文字に分ける"] * number)
    assert [select.input_value() for select in page.locator("select").all()] == [
        model["name"] for model in models[:number]
    ]
    context.close()
