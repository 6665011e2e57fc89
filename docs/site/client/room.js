// The lesson and its code, side by side. The lesson never scrolls by itself. The code follows it: the
// lines that the block at hand shows are marked, and brought into view in the pane.
(() => {
    const pane = document.querySelector('.pane');
    const hold = document.getElementById('hold');
    const view = document.getElementById('view');
    const files = [...pane.querySelectorAll('#view-code .file')];
    const blocks = [...document.querySelectorAll('figure[data-file]')];
    const baseOf = (file) => file.split('/').pop();

    // ---- Which file is shown ---------------------------------------------------------------

    const tabs = new Map();
    for (const file of files) {
        const tab = document.createElement('button');
        tab.type = 'button';
        tab.role = 'tab';
        tab.textContent = baseOf(file.dataset.file);
        tab.addEventListener('click', () => open(file));
        tabs.set(file, tab);
        file.open = true;
    }
    pane.querySelector('.tabs').append(...tabs.values());
    pane.querySelector('.tools').hidden = false;
    pane.classList.add('with-tabs');

    function open(shown) {
        for (const [file, tab] of tabs) {
            file.hidden = file !== shown;
            tab.setAttribute('aria-selected', String(file === shown));
        }
        if (view.value !== 'code') choose('code');
    }

    function choose(value) {
        view.value = value;
        for (const part of pane.querySelectorAll('.view')) part.hidden = part.id !== `view-${value}`;
        pane.querySelector('.tabs').hidden = value !== 'code';
    }

    view.addEventListener('change', () => choose(view.value));
    choose('code');
    open(files[0]);

    // ---- In one column: only the function at hand, below the text, until the reader opens it ----

    const narrow = matchMedia('(max-width: 1099px)');
    const fold = document.getElementById('fold');
    const functions = new Map(files.map((file) => [file, JSON.parse(file.dataset.functions)]));

    function showFolded(folded) {
        pane.classList.toggle('folded', folded && narrow.matches);
        fold.hidden = !narrow.matches;
        fold.setAttribute('aria-expanded', String(!pane.classList.contains('folded')));
    }

    /** Shows only the function that has this line, if the window is narrow. */
    function showFunction(file, number) {
        const [name, first, last] = functions.get(file).find(([, from, to]) => from <= number && number <= to) ?? [];
        fold.textContent = `The code: ${baseOf(file.dataset.file)}${name ? `, ${name}()` : ''}`;
        const only = narrow.matches && name !== undefined;
        file.querySelector('pre').style.counterReset = only ? `line ${first - 1}` : '';
        file.querySelectorAll('.line').forEach((line, index) => {
            line.hidden = only && (index + 1 < first || index + 1 > last);
        });
    }

    fold.addEventListener('click', () => showFolded(!pane.classList.contains('folded')));
    narrow.addEventListener('change', () => showFolded(true));
    showFolded(true);

    // ---- Which lines are marked ------------------------------------------------------------

    /** Marks lines of a file, and brings them into view in the pane alone. */
    function mark(name, first, last) {
        const file = files.find((one) => one.dataset.file === name);
        if (!file) return;
        for (const line of pane.querySelectorAll('.line.marked')) line.classList.remove('marked');
        open(file);
        showFunction(file, first);
        const lines = [];
        for (let number = first; number <= last; ++number) {
            const line = document.getElementById(`${baseOf(name)}-L${number}`);
            line.classList.add('marked');
            lines.push(line);
        }
        const box = pane.getBoundingClientRect();
        const top = lines[0].getBoundingClientRect().top - box.top;
        pane.scrollTop += top - box.height / 4;
        pane.dataset.at = `${name}:${first}-${last}`;
    }

    let current;

    /** The block at hand: the last one whose top is above the middle of the window. */
    function follow() {
        if (hold.checked) return;
        const middle = innerHeight / 2;
        const seen = blocks.filter((block) => block.offsetParent && block.getBoundingClientRect().top < middle);
        const block = seen.at(-1);
        if (!block || block === current) return;
        current?.classList.remove('at-hand');
        current = block;
        block.classList.add('at-hand');
        const { file, first, last } = block.dataset;
        mark(file, Number(first), Number(last));
    }

    let waiting = false;
    addEventListener(
        'scroll',
        () => {
            if (waiting) return;
            waiting = true;
            requestAnimationFrame(() => {
                waiting = false;
                follow();
            });
        },
        { passive: true },
    );
    hold.addEventListener('change', follow);

    // ---- To the code, and back -------------------------------------------------------------

    /** Goes to a line of the pane that a link names. */
    function toLine(hash) {
        const [, base, number] = hash.match(/^#(.+)-L(\d+)$/) ?? [];
        const file = files.find((one) => baseOf(one.dataset.file) === base);
        if (!file) return false;
        mark(file.dataset.file, Number(number), Number(number));
        return true;
    }

    document.addEventListener('click', (event) => {
        const link = event.target.closest?.('a.to-code');
        if (link && toLine(link.getAttribute('href'))) event.preventDefault();
    });
    addEventListener('hashchange', () => toLine(location.hash));
    addEventListener('show-code', ({ detail: { file, line } }) => mark(file, line, line));
    if (!toLine(location.hash)) follow();

    // ---- What a system call does -----------------------------------------------------------

    const card = document.createElement('div');
    card.className = 'card';
    card.role = 'tooltip';
    card.id = 'card';
    card.hidden = true;
    document.body.append(card);
    const script = document.createElement('script');
    script.src = `${document.body.dataset.root}assets/calls.js`;
    document.head.append(script);

    function describe(link) {
        const call = window.calls?.[link.dataset.call];
        if (!call) return;
        const name = document.createElement('strong');
        name.textContent = `${link.dataset.call}()`;
        const more = document.createElement('small');
        more.textContent = `${call.man} · tested by ${call.test} · click: where it is explained`;
        card.replaceChildren(name, ` ${call.what}`, document.createElement('br'), more);
        card.hidden = false;
        const box = link.getBoundingClientRect();
        const wide = card.getBoundingClientRect();
        card.style.left = `${Math.max(8, Math.min(box.left, innerWidth - wide.width - 8))}px`;
        card.style.top = `${box.bottom + wide.height + 12 < innerHeight ? box.bottom + 6 : box.top - wide.height - 6}px`;
        link.setAttribute('aria-describedby', 'card');
    }

    function hide() {
        card.hidden = true;
        document.querySelector('[aria-describedby=card]')?.removeAttribute('aria-describedby');
    }

    for (const [show, away] of [['mouseover', 'mouseout'], ['focusin', 'focusout']]) {
        document.addEventListener(show, (event) => {
            const link = event.target.closest?.('a.call');
            if (link) describe(link);
        });
        document.addEventListener(away, (event) => {
            if (event.target.closest?.('a.call')) hide();
        });
    }
    document.addEventListener('keydown', (event) => {
        if (event.key === 'Escape') hide();
    });
})();
