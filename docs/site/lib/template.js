// The pages around what is in their middle.
import { callsOfBare, changesSince } from './changes.js';
import { colour, languageOf, rangesOf } from './code.js';
import { escape, lineId } from './markdown.js';
import { beyond, filesOf, folderOf, read, relative, stageBefore, stages } from './tree.js';

const base = (file) => file.split('/').pop();

/** A whole page. `address` is its own, from which all links lead. */
export function whole({ address, title, body, kind, path = [], scripts = [] }) {
    const to = (target) => relative(address, target);
    const trail = path.map(([name, target]) => `<a href="${to(target)}">${escape(name)}</a>`).join(' / ');
    return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(title)}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="${to('assets/style.css')}">
<script src="${to('assets/theme.js')}"></script>
</head>
<body class="${kind}" data-root="${to('index.html').replace(/index\.html$/, '')}">
<a class="skip" href="#content">To the text</a>
<header>
<nav aria-label="Site"><a href="${to('index.html')}">Many clients, one program</a>
<a href="${to('docs/index.html')}">All pages</a>
<a href="${to('docs/reference/symptoms.html')}">Symptoms</a>
<span class="trail">${trail}</span></nav>
<search class="search" hidden>
<label for="query">Search</label>
<input id="query" type="search" autocomplete="off" placeholder="an error, a call, a word">
<ol id="hits" hidden></ol>
</search>
<button id="theme" type="button" hidden>Dark</button>
</header>
${body}
<script src="${to('assets/search.js')}" defer></script>
${scripts.map((name) => `<script src="${to(`assets/${name}`)}" defer></script>`).join('\n')}
</body>
</html>
`;
}

/** Whether a page is a lesson with a recorded run: those beyond the seven have none. */
const hasReplay = (page) => stages.includes(page.stage);

/** The headings of the second level, and of the third where asked for. */
function contents(page, depth) {
    const shown = page.headings.filter(({ level }) => level >= 2 && level <= depth);
    if (shown.length < 3) return '';
    const limit = hasReplay(page) ? shown.findIndex(({ anchor }) => anchor === 'its-limit') : -1;
    if (limit !== -1) shown.splice(limit + 1, 0, { level: 3, text: 'The run, moment by moment', anchor: 'the-run' });
    const items = shown.map(
        ({ level, text, anchor }) => `<li class="level-${level}"><a href="#${anchor}">${escape(text)}</a></li>`,
    );
    return `<details class="contents"><summary>On this page</summary><ol>${items.join('')}</ol></details>`;
}

const isBeyond = (page) => beyond.includes(page.stage);

/** The pages before and after this one, of those that `order` holds in reading order. */
function neighbours(page, order, label) {
    const at = order.indexOf(page);
    if (at === -1) return '';
    const link = (other, word) => {
        if (!other) return '<span></span>';
        const part = isBeyond(other) && !isBeyond(page) ? 'Beyond the article: ' : '';
        const name = part + escape(other.stage ?? other.title);
        const arrow = word === 'prev' ? `←&nbsp;${name}` : `${name}&nbsp;→`;
        return `<a rel="${word}" href="${relative(page.address, other.address)}">${arrow}</a>`;
    };
    return `<nav class="neighbours" aria-label="${label}">${link(order[at - 1], 'prev')}${link(order[at + 1], 'next')}</nav>`;
}

/** The middle of a page of text, between links to its neighbours. */
function article(page, order, inner) {
    return `<article>${neighbours(page, order, 'Neighbours')}${inner}${neighbours(page, order, 'Neighbours, at the end')}</article>`;
}

/** A page of text alone. */
export function textPage(page, path, order) {
    const body = `<main id="content">${article(page, order, contents(page, 3) + page.html)}</main>`;
    const isComparison = page.file.endsWith('/comparison.md');
    const isWide = isComparison || page.file.endsWith('/others.md'); // a table with a column for each server
    const scripts = isComparison ? ['comparison.js'] : [];
    return whole({ address: page.address, title: page.title, body, kind: isWide ? 'text wide' : 'text', path, scripts });
}

/** What the replay of a stage's recordings is made of; the script fills it. */
function replay(stage) {
    const option = (value, name) => `<option value="${value}">${name}</option>`;
    const all = (kind, file) => stages.map((other) => option(other + kind, `${other}, ${file}`)).join('');
    const choice = (label, part, options) =>
        `<label>${label} <select data-part="${part}" autocomplete="off">${options}</select></label>`;
    return `<section class="replay" data-stage="${stage}" aria-label="The recorded run" hidden>
<h3 id="the-run">The run, moment by moment</h3>
<p>Client A is slow or leaves, and B and C are quick. A client's bar is dashed while it waits in the queue, and filled when it
has been accepted. The server's is framed while it waits in a call, and dark while it works or spins. Press on the bars to go
to a moment. The calls and the times were recorded, under strace. The phases, the queue and the lists follow from them.</p>
<div class="controls">
${choice('Client A', 'scenario', option('pauses', 'pauses in the middle of its request') + option('leaves', 'leaves in the middle of its request'))}
${choice('Program', 'program', option(stage, 'main.cpp') + option(`${stage}_bare`, 'bare.cpp'))}
${choice('beside', 'other', option('', 'no other program') + all('', 'main.cpp') + all('_bare', 'bare.cpp'))}
</div>
<div class="controls">
<button type="button" data-part="play">Play</button>
<button type="button" data-part="back" aria-label="One step back">◀</button>
<button type="button" data-part="on" aria-label="One step on">▶</button>
<label>Moment <input type="range" data-part="slider" min="0" max="345" step="0.1" value="0" autocomplete="off"></label>
<span data-part="clock">0.0 ms</span>
</div>
<div class="stages" data-part="stages"></div>
</section>`;
}

/** The text of a lesson, with the replay below the picture of the recording, or else before its limit. */
function withReplay(page) {
    const picture = /<p><a class="picture"[^>]*timeline\.svg.*?<\/p>/s;
    if (picture.test(page.html)) return page.html.replace(picture, (found) => found + replay(page.stage));
    const limit = '<h2 id="its-limit">';
    if (!page.html.includes(limit)) throw new Error(`${page.file}: there is no place for the replay`);
    return page.html.replace(limit, () => replay(page.stage) + limit);
}

/** A lesson, and beside it the code of its stage. */
export function lessonPage(page, path, order, toPage) {
    const text = hasReplay(page) ? withReplay(page) : page.html;
    const body = `<div class="room">
<main id="content">${article(page, order, contents(page, 2) + text)}</main>
<aside class="pane" aria-label="The code of this stage">${pane(page, toPage)}</aside>
</div>`;
    const scripts = ['room.js', 'card.js', ...(hasReplay(page) ? ['replay.js'] : [])];
    return whole({ address: page.address, title: page.title, body, kind: 'lesson', path, scripts });
}

/** What changed since the stage before: first, the files that did. */
function changesView(page, changes) {
    const changed = changes.filter(({ old, hunks }) => !old || hunks.length);
    const same = changes.filter((change) => !changed.includes(change)).map(({ file }) => `<code>${base(file)}</code>`);
    const jumps = changed.map(({ file }) => `<a href="#changed-${base(file)}">${base(file)}</a>`);
    const rest = same.length ? `<p class="place">Unchanged: ${same.join(', ')}.</p>` : '';
    return `<p class="place">Changed: ${jumps.join(', ')}.</p>${rest}${changed.map((change) => changedFile(page, change)).join('\n')}`;
}

function pane(page, toPage) {
    const files = filesOf(page.stage);
    const changes = changesSince(page.stage);
    const views = [
        ['code', 'The code'],
        ...(changes.length ? [['changes', `What changed since ${stageBefore(page.stage)}`]] : []),
        ['bare-main', 'From the bare program to the server'],
    ];
    const choice = views.map(([value, name]) => `<option value="${value}">${escape(name)}</option>`).join('');
    return `<button id="fold" type="button" aria-expanded="false" hidden>The code</button>
<button id="whole" type="button" hidden>Show the whole file</button>
<div class="tools" hidden>
<label>Show <select id="view">${choice}</select></label>
<label><input id="hold" type="checkbox" autocomplete="off"> Hold the code</label>
<div class="tabs" role="group" aria-label="Files"></div>
</div>
<div class="view" id="view-code">${files.map((file, index) => codeFile(page, file, index === 0, toPage)).join('\n')}</div>
${changes.length ? `<div class="view" id="view-changes">${changesView(page, changes)}</div>` : ''}
<div class="view" id="view-bare-main">${bareAndMain(page)}</div>`;
}

/** A file of the stage. In its margin, a mark leads to each block of the lesson that shows a part. */
function codeFile(page, file, open, toPage) {
    const marks = new Map();
    for (const block of page.blocks) {
        if (block.file !== file) continue;
        for (const { first } of block.parts) if (!marks.has(first)) marks.set(first, block.id);
    }
    for (const { file: other, line, id } of page.names) {
        if (other === file && !marks.has(line)) marks.set(line, id);
    }
    const html = colour(read(file), languageOf(file), {
        prefix: `${base(file)}-L`,
        links: toPage,
        mark(line, number) {
            const block = marks.get(number);
            if (!block) return;
            line.children.unshift({
                type: 'element',
                tagName: 'a',
                properties: { class: 'explained', href: `#${block}`, 'aria-label': `Line ${number}: where the lesson explains it`, title: 'Where the lesson explains it' },
                children: [{ type: 'text', value: '¶' }],
            });
        },
    });
    const functions = escape(JSON.stringify(rangesOf(file)));
    return `<details class="file" data-file="${file}" data-functions="${functions}"${open ? ' open' : ''}><summary>${base(file)}</summary>${html}</details>`;
}

function changedFile(page, { file, old, hunks }) {
    const title = `<summary>${base(file)}</summary>`;
    if (!old) return `<details class="file" id="changed-${base(file)}" open>${title}<p>This file is new.</p></details>`;
    const parts = hunks.map(
        ({ first, lines }) =>
            `<p class="place"><a class="to-code" href="#${lineId(file, first)}">line ${first}</a></p>${colour(lines.join('\n'), 'diff')}`,
    );
    return `<details class="file" id="changed-${base(file)}" open>${title}${parts.join('\n')}</details>`;
}

function bareAndMain(page) {
    const rows = callsOfBare(page.stage).map(({ name, line, text, places }) => {
        const bare = `${folderOf(page.stage)}/bare.cpp`;
        const there = places.map(({ file, line: number }) => `<a class="to-code" href="#${lineId(file, number)}">${base(file)}, ${number}</a>`);
        return `<tr><td><a class="to-code" href="#${lineId(bare, line)}">${line}</a></td><td><code>${escape(text)}</code></td><td>${there.join('<br>') || `no ${name}()`}</td></tr>`;
    });
    return `<p>Each call of the bare program, and where the server makes it.</p>
<div class="table" tabindex="0"><table><thead><tr><th>bare.cpp</th><th>the line</th><th>in the server</th></tr></thead><tbody>${rows.join('\n')}</tbody></table></div>`;
}

/** A source file on a page of its own. */
export function sourcePage(address, file, path, toPage) {
    const html = colour(read(file), languageOf(file), { prefix: 'L', links: toPage });
    const body = `<main id="content"><h1>${escape(file)}</h1>${html}</main>`;
    return whole({ address, title: file, body, kind: 'source', path, scripts: ['card.js'] });
}

/** A folder: what is in it. */
export function folderPage(address, folder, entries, path) {
    const items = entries.map(([name, target]) => `<li><a href="${relative(address, target)}">${escape(name)}</a></li>`);
    const body = `<main id="content"><article><h1>${escape(folder)}</h1><ul>${items.join('\n')}</ul></article></main>`;
    return whole({ address, title: folder, body, kind: 'text', path });
}
