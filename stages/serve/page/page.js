// A text typed here → the tokens of two models side by side, and what they put for its [MASK], from this server's API.

const SAYS = {
  ja: {
    title: '日本語トークナイザー', language: '言語', input: '入力', label: 'テキスト', mask: '[MASK] を入れる', clear: '消す',
    share: 'リンクをコピー', ids: 'ID を表示', examples: '例', api: 'API の説明 (OpenAPI)',
    footer: '入力した文はこのサーバーにだけ送られ、記録されません。',
    wordpiece: '単語を WordPiece に分ける', character: '単語を文字に分ける', model: 'モデル',
    tokens: name => `${name} のトークン。左右の矢印キーで移動`,
    summary: (characters, words, tokens) =>
      `${characters} 文字 · ${words} 単語 · ${tokens} トークン` + (tokens ? ` · 1 トークンに ${(characters / tokens).toFixed(2)} 文字` : ''),
    token: (token, id, start, end, text, first) =>
      `「${token}」 ID ${id}、` + (text === null ? '文の前後に付く記号' : `位置 ${start}–${end}「${text}」、${first ? '単語の始まり' : '単語の続き'}`),
    unknown: '語彙にない', hint: 'トークンを指すか、矢印キーで選ぶと、ID と位置が出ます。',
    legend: '色は単語ごとに替わります。破線は単語の中の切れ目、波線は語彙にない文字です。', comma: '、', stop: '。',
    best: (number, token) => `${number} 番目の [MASK] には「${token}」`,
    cut: (shown, all) => `${all} トークンのうち最初の ${shown} を表示しています。`,
    masks: number => `${number} 番目の [MASK] に入るもの`, fill: (token, score) => `「${token}」を入れる、確率 ${score}`,
    copied: 'コピーしました', uncopied: 'アドレス欄のリンクをコピーしてください',
    long: '文が長すぎて、リンクに入りません。', away: 'サーバーに届きません。動いているか確かめてください。',
    busy: 'サーバーが混んでいます。少し待ってからもう一度お試しください。', large: '文が長すぎます。短くしてください。',
    positions: 'この文は、このモデルが一度に読める長さより長いので、[MASK] は埋められません。',
    without: 'このモデルには model.onnx がなく、[MASK] は埋められません。', failed: (status, detail) => `エラー ${status}: ${detail}`,
  },
  en: {
    title: 'Japanese tokenizer', language: 'Language', input: 'Input', label: 'Text', mask: 'Insert [MASK]', clear: 'Clear',
    share: 'Copy link', ids: 'Show ids', examples: 'Examples', api: 'Description of the API (OpenAPI)',
    footer: 'What you type goes to this server alone, and is not recorded.',
    wordpiece: 'Words into WordPieces', character: 'Words into characters', model: 'Model',
    tokens: name => `Tokens of ${name}. Left and right arrow keys move`,
    summary: (characters, words, tokens) =>
      `${characters} characters · ${words} words · ${tokens} tokens` + (tokens ? ` · ${(characters / tokens).toFixed(2)} characters a token` : ''),
    token: (token, id, start, end, text, first) =>
      `“${token}” id ${id}, ` + (text === null ? 'around every text' : `at ${start}–${end} “${text}”, ${first ? 'begins a word' : 'within a word'}`),
    unknown: 'not in the vocabulary', hint: 'Point at a token, or choose one with the arrow keys, to see its id and place.',
    legend: 'Colours change from word to word. A dashed line is a boundary within a word, a wavy one means not in the vocabulary.',
    comma: ', ', stop: '. ',
    best: (number, token) => `for [MASK] number ${number} “${token}”`,
    cut: (shown, all) => `The first ${shown} of ${all} tokens are shown.`,
    masks: number => `For [MASK] number ${number}`, fill: (token, score) => `Put “${token}”, probability ${score}`,
    copied: 'Copied', uncopied: 'Copy the link from the address bar',
    long: 'The text is too long to be part of a link.', away: 'The server cannot be reached. Is it running?',
    busy: 'The server is busy. Wait a little and try again.', large: 'The text is too long. Make it shorter.',
    positions: 'The text is longer than this model reads at once, so its [MASK] cannot be filled.',
    without: 'This model has no model.onnx, so [MASK] cannot be filled.', failed: (status, detail) => `Error ${status}: ${detail}`,
  },
};
const EXAMPLES = ['日本の首都は[MASK]である。', '春になると、山の雪が解けて川の水が増える。', '㌔やｶﾅも𠮷野さんも😀も、元の位置がわかる。', '[MASK]は日本の[MASK]です。'];
const KINDS = ['wordpiece', 'character'];
// Milliseconds without a key until the server is asked, and until a screen reader is told.
const PAUSE = 150, QUIET = 1200;
// More make a browser slow.
const MOST_TOKENS = 5000;
// Browsers and chats take longer addresses, but not all of them do.
const LONGEST_LINK = 8000;

const find = id => document.getElementById(id);
const text = find('text');
let language = navigator.language.startsWith('ja') ? 'ja' : 'en';
let models = [];
let panels = [];
let asking = new AbortController();
let timer = 0, telling = 0;

class Failure extends Error {}

async function ask(path, body, signal) {
  let answer;
  try {
    const how = body && { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) };
    answer = await fetch(path, { ...how, signal });
    if (answer.ok) return await answer.json();
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Failure(SAYS[language].away);
  }
  const { detail = '' } = await answer.json().catch(() => ({}));
  const says = SAYS[language];
  if (answer.status === 503) throw new Failure(says.busy);
  if (answer.status === 413 || /at most \d+ characters/.test(detail)) throw new Failure(says.large);
  if (/the model takes/.test(detail)) throw new Failure(says.positions);
  throw new Failure(says.failed(answer.status, detail));
}

function element(name, classes = '', content = '') {
  const made = document.createElement(name);
  made.className = classes;
  made.textContent = content;
  return made;
}

class Panel {
  constructor(model) {
    this.model = model;
    this.root = find('panel').content.firstElementChild.cloneNode(true);
    const part = selector => this.root.querySelector(selector);
    [this.title, this.select, this.summary] = ['h2', 'select', '.summary'].map(part);
    [this.tokens, this.cut, this.detail, this.masks] = ['.tokens', '.cut', '.detail', '.masks'].map(part);
    for (const each of models) this.select.add(new Option(each.name, each.name, false, each.name === model));
    this.select.addEventListener('change', () => { this.model = this.select.value; remember(); refresh(); });
    this.tokens.addEventListener('keydown', event => this.move(event));
    for (const kind of ['focusin', 'pointerover']) {
      this.tokens.addEventListener(kind, event => {
        const token = event.target.closest('.token');
        if (!token) return;
        if (kind === 'focusin') this.rove(token);
        this.show(token);
      });
    }
    this.tokens.addEventListener('pointerleave', () => this.show(this.tokens.contains(document.activeElement) ? document.activeElement : null));
    this.tokens.addEventListener('focusout', () => this.show(null));
    this.found = null;
  }

  get known() { return models.find(each => each.name === this.model); }

  say() {
    const says = SAYS[language];
    this.title.textContent = says[this.known.subword_tokenizer_type];
    this.select.setAttribute('aria-label', `${says.model}: ${this.title.textContent}`);
    this.tokens.setAttribute('aria-label', says.tokens(this.model));
    if (this.found) this.draw(this.found, this.given);
    else this.detail.textContent = says.hint;
  }

  async refresh(given, signal) {
    const wants = given.includes('[MASK]') && this.known.fill_mask;
    const request = { text: given, model: this.model };
    const filled = wants ? ask('/v1/fill-mask', { ...request, top_k: 8 }, signal).catch(error => error) : null;
    const found = await ask('/v1/encode', request, signal);
    if (signal.aborted) return;
    this.draw(found, given);
    const answer = await filled;
    if (signal.aborted) return;
    this.drawMasks(answer, given);
  }

  draw(found, given) {
    const says = SAYS[language];
    this.found = found;
    this.given = given;
    const points = Array.from(given);
    const { input_ids: ids, tokens, offsets, word_ids: words } = found;
    const own = tokens.length - 2;
    this.counts = [points.length, words.length > 2 ? words[words.length - 2] + 1 : 0, own];
    this.summary.textContent = says.summary(...this.counts);
    const drawn = [];
    let word = null;
    for (let place = 0; place < Math.min(tokens.length, MOST_TOKENS); place++) {
      const number = words[place];
      const whole = number === null || tokens[place] === '[MASK]';
      if (!word || number === null || number !== words[place - 1]) {
        word = element('span', `word${whole ? ' special' : number % 2 ? ' odd' : ''}`);
        word.setAttribute('role', 'presentation');
        drawn.push(word);
      }
      const [start, end] = offsets[place];
      const covered = number === null ? null : points.slice(start, end).join('');
      const unknown = tokens[place] === '[UNK]';
      const token = element('span', `token${unknown ? ' unknown' : ''}`);
      const name = says.token(tokens[place], ids[place], start, end, covered, number !== words[place - 1]) + (unknown ? says.comma + says.unknown : '');
      const shown = element('span', '', unknown ? covered : tokens[place]);
      shown.lang = 'ja';
      token.append(shown, element('small', '', ids[place]));
      token.setAttribute('role', 'option');
      token.setAttribute('aria-selected', 'false');
      token.setAttribute('aria-label', name);
      token.tabIndex = place ? -1 : 0;
      Object.assign(token.dataset, { start, end, id: ids[place] });
      word.append(token);
    }
    this.tokens.replaceChildren(...drawn);
    this.cut.hidden = tokens.length <= MOST_TOKENS;
    this.cut.textContent = says.cut(MOST_TOKENS, tokens.length);
    this.detail.textContent = says.hint;
  }

  /** The best filling of each mask, in words. */
  best() {
    const masks = this.answer?.masks ?? [];
    return masks.map((mask, number) => SAYS[language].best(number + 1, mask.fills[0].token));
  }

  drawMasks(answer, given) {
    this.answer = answer;
    const says = SAYS[language];
    if (answer === null) {
      const lacking = given.includes('[MASK]') && !this.known.fill_mask;
      this.masks.replaceChildren(...lacking ? [element('p', 'cut', says.without)] : []);
      return;
    }
    if (answer instanceof Error) {
      this.masks.replaceChildren(element('p', 'error', answer.message));
      return;
    }
    this.masks.replaceChildren(...answer.masks.flatMap((mask, number) => {
      const title = element('h3', '', says.masks(number + 1));
      const list = element('ol');
      for (const { token, score } of mask.fills) {
        const share = `${(100 * score).toFixed(1)} %`;
        const button = element('button', 'fill');
        button.type = 'button';
        button.setAttribute('aria-label', says.fill(token, share));
        const bar = element('i');
        bar.style.width = `${100 * score}%`;
        const word = element('span', '', token);
        word.lang = 'ja';
        button.append(bar, word, element('span', 'score', share));
        button.addEventListener('click', () => put(given, mask, token));
        const item = element('li');
        item.append(button);
        list.append(item);
      }
      return [title, list];
    }));
  }

  move(event) {
    const options = [...this.tokens.querySelectorAll('.token')];
    const here = options.indexOf(document.activeElement);
    const to = { ArrowRight: here + 1, ArrowDown: here + 1, ArrowLeft: here - 1, ArrowUp: here - 1, Home: 0, End: options.length - 1 }[event.key];
    if (here < 0 || to === undefined) return;
    event.preventDefault();
    options[Math.max(0, Math.min(to, options.length - 1))].focus();
  }

  /** Tab comes back to the token that had the focus last, also where a click chose it. */
  rove(token) {
    for (const other of this.tokens.querySelectorAll('[tabindex="0"]')) other.tabIndex = -1;
    token.tabIndex = 0;
  }

  show(token) {
    for (const marked of document.querySelectorAll('.token.marked')) marked.classList.remove('marked');
    for (const chosen of this.tokens.querySelectorAll('[aria-selected="true"]')) chosen.setAttribute('aria-selected', 'false');
    this.detail.textContent = token ? token.getAttribute('aria-label') : SAYS[language].hint;
    if (!token) return;
    token.setAttribute('aria-selected', 'true');
    const [start, end] = [Number(token.dataset.start), Number(token.dataset.end)];
    for (const other of document.querySelectorAll('.token'))
      if (other.dataset.start < end && start < other.dataset.end) other.classList.add('marked');
  }
}

/** Put a token in the place of a mask of `given`, unless another text stands there by now; places are code points. */
function put(given, mask, token) {
  if (text.value !== given) return;
  const points = Array.from(given);
  points.splice(mask.start, mask.end - mask.start, token.replace(/^##(?=.)/u, ''));
  text.value = points.join('');
  text.focus();
  remember();
  refresh();
}

async function refresh() {
  clearTimeout(timer);
  clearTimeout(telling);
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  const given = text.value;
  document.body.classList.add('busy');
  try {
    if (!models.length) await meet(signal);
    await Promise.all(panels.map(panel => panel.refresh(given, signal)));
    fail('');
    tell();
  } catch (error) {
    if (signal.aborted) return;
    asking.abort();
    if (!(error instanceof Failure)) throw error;
    fail(error.message);
  } finally {
    if (asking.signal === signal) document.body.classList.remove('busy');
  }
}

function fail(message) {
  const line = find('error');
  if (line.textContent !== message) line.textContent = message;
  line.hidden = !message;
  document.body.classList.toggle('stale', Boolean(message));
}

/** Say the summary to a screen reader, once nobody types any more. */
function tell() {
  clearTimeout(telling);
  telling = setTimeout(() => {
    const { comma, stop } = SAYS[language];
    const told = panels.map(panel => [`${panel.title.textContent}: ${panel.summary.textContent}`, ...panel.best()].join(comma));
    find('status').textContent = told.join(stop);
  }, QUIET);
}

/** The address that brings this text, these models and this language back. All of it is behind the #: no server sees it. */
function link() {
  const shown = models.length ? panels.map(panel => panel.model).join(',') : asked().get('models') ?? '';
  const state = new URLSearchParams({ text: text.value, models: shown, lang: language });
  return `${location.pathname}#${state}`;
}

function remember() {
  const address = link();
  try {
    history.replaceState(null, '', address.length > LONGEST_LINK ? location.pathname : address);
  } catch {
    // Safari takes 100 changes in some seconds and throws at the next one. The text goes on, the address follows later.
  }
}

function asked() { return new URLSearchParams(location.hash.slice(1)); }

function recall() {
  const state = asked();
  if (Object.hasOwn(SAYS, state.get('lang') ?? '')) language = state.get('lang');
  text.value = state.get('text') ?? EXAMPLES[0];
  arrange();
}

/** Ask which models there are, and show two of them. */
async function meet(signal) {
  ({ models } = await ask('/v1/models', undefined, signal));
  arrange();
}

/** The panels: of the models that the address names, else the first of each kind, else the first two. */
function arrange() {
  const wanted = (asked().get('models') ?? '').split(',');
  const names = models.map(each => each.name);
  const first = KINDS.flatMap(kind => models.find(each => each.subword_tokenizer_type === kind) ?? []).map(each => each.name);
  const usual = [...new Set([...first, ...names])].slice(0, 2);
  const chosen = wanted.every(name => names.includes(name)) && wanted.length <= 2 ? wanted : usual;
  panels = chosen.map(name => new Panel(name));
  find('panels').replaceChildren(...panels.map(panel => panel.root));
  say();
}

function say() {
  const says = SAYS[language];
  document.documentElement.lang = language;
  document.title = says.title;
  for (const each of document.querySelectorAll('[data-says]')) each.textContent = says[each.dataset.says];
  for (const each of document.querySelectorAll('[data-names]')) each.setAttribute('aria-label', says[each.dataset.names]);
  for (const each of document.querySelectorAll('[data-language]'))
    each.setAttribute('aria-pressed', String(each.dataset.language === language));
  for (const panel of panels) {
    panel.say();
    if (panel.answer) panel.drawMasks(panel.answer, panel.given);
  }
}

async function share(button) {
  const says = SAYS[language];
  let message = says.copied;
  remember();
  if (link().length > LONGEST_LINK) message = says.long;
  else {
    try {
      // Browsers have no clipboard for a page of another machine without TLS.
      await navigator.clipboard.writeText(location.origin + link());
    } catch {
      message = says.uncopied;
    }
  }
  button.textContent = message;
  find('status').textContent = message;
  setTimeout(() => { button.textContent = SAYS[language].share; }, 2000);
}

text.addEventListener('input', () => { clearTimeout(timer); timer = setTimeout(() => { remember(); refresh(); }, PAUSE); });
find('mask').addEventListener('click', () => {
  text.setRangeText('[MASK]', text.selectionStart, text.selectionEnd, 'end');
  text.focus();
  remember();
  refresh();
});
find('clear').addEventListener('click', () => { text.value = ''; text.focus(); remember(); refresh(); });
find('share').addEventListener('click', event => share(event.currentTarget));
find('ids').addEventListener('change', event => document.body.classList.toggle('with-ids', event.target.checked));
for (const example of EXAMPLES) {
  const button = element('button', '', example);
  button.type = 'button';
  button.lang = 'ja';
  button.addEventListener('click', () => { text.value = example; remember(); refresh(); });
  find('examples').append(button);
}
for (const button of document.querySelectorAll('[data-language]'))
  button.addEventListener('click', () => { language = button.dataset.language; say(); remember(); refresh(); });
addEventListener('hashchange', () => { recall(); refresh(); });

recall();
refresh();
