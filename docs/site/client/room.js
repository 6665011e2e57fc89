// The lesson and its code, side by side. The lesson never scrolls by itself. The code follows it: the
// lines that the block at hand shows are marked, and brought into view in the pane.
(() => {
    const pane = document.querySelector('.pane');
    const hold = document.getElementById('hold');
    const view = document.getElementById('view');
    const fold = document.getElementById('fold');
    const whole = document.getElementById('whole');
    const files = [...pane.querySelectorAll('#view-code .file')];
    const blocks = [...document.querySelectorAll('figure[data-file]')];
    const narrow = matchMedia('(max-width: 1099px)');
    const baseOf = (file) => file.split('/').pop();
    const fileNamed = (base) => files.find((file) => baseOf(file.dataset.file) === base);
    const lineOf = (file, number) => document.getElementById(`${baseOf(file.dataset.file)}-L${number}`);

    // ---- Which file is shown ---------------------------------------------------------------

    const buttons = new Map();
    for (const file of files) {
        const button = document.createElement('button');
        button.type = 'button';
        button.textContent = baseOf(file.dataset.file);
        button.addEventListener('click', () => {
            open(file);
            showFunction(file, 0);
            pane.scrollTop = 0;
        });
        buttons.set(file, button);
        file.open = true;
    }
    pane.querySelector('.tabs').append(...buttons.values());
    pane.querySelector('.tools').hidden = false;
    pane.classList.add('with-tabs');

    function open(shown) {
        for (const [file, button] of buttons) {
            file.hidden = file !== shown;
            button.setAttribute('aria-pressed', String(file === shown));
        }
        if (view.value !== 'code') choose('code');
    }

    function choose(value) {
        view.value = value;
        for (const part of pane.querySelectorAll('.view')) part.hidden = part.id !== `view-${value}`;
        pane.querySelector('.tabs').hidden = value !== 'code';
        pane.scrollTop = 0;
    }

    view.addEventListener('change', () => choose(view.value));

    // ---- In one column: folded, and unfolded only the function at hand ---------------------

    const functions = new Map(files.map((file) => [file, JSON.parse(file.dataset.functions)]));
    let marked; // the file, and the first line

    const isFolded = () => pane.classList.contains('folded');

    function setFolded(folded) {
        pane.classList.toggle('folded', folded && narrow.matches);
        fold.hidden = whole.hidden = !narrow.matches;
        fold.setAttribute('aria-expanded', String(!isFolded()));
        nameFold();
        scrollToMark();
    }

    function nameFold() {
        fold.textContent = isFolded() ? `The code: ${fold.dataset.shown ?? ''}` : 'Close the code ✕';
    }

    /** Shows only the function that has this line if the window is narrow; all lines if none has it. */
    function showFunction(file, number) {
        const [name, first, last] = functions.get(file).find(([, from, to]) => from <= number && number <= to) ?? [];
        const only = narrow.matches && name !== undefined;
        fold.dataset.shown = baseOf(file.dataset.file) + (name ? `, ${name}()` : '');
        nameFold();
        file.querySelector('pre').style.counterReset = only ? `line ${first - 1}` : '';
        file.querySelectorAll('.line').forEach((line, index) => {
            line.hidden = only && (index + 1 < first || index + 1 > last);
        });
    }

    fold.addEventListener('click', () => setFolded(!isFolded()));
    document.querySelector('main').addEventListener('click', (event) => {
        if (narrow.matches && !event.target.closest('a')) setFolded(true);
    });
    whole.addEventListener('click', () => {
        showFunction(marked[0], 0);
        scrollToMark();
    });
    narrow.addEventListener('change', () => {
        showFunction(marked[0], marked[1]);
        setFolded(true);
    });

    // ---- Which lines are marked ------------------------------------------------------------

    /** Marks lines of a file, and brings the first of them into view in the pane alone. `ranges`: first and last lines. */
    function mark(name, ranges) {
        const at = `${name}:${ranges.map((range) => range.join('-'))}`;
        const first = ranges[0][0];
        if (pane.dataset.at === at && view.value === 'code') return;
        const file = files.find((one) => one.dataset.file === name);
        if (!file) return;
        pane.dataset.at = at;
        for (const line of pane.querySelectorAll('.line.marked')) line.classList.remove('marked');
        open(file);
        showFunction(file, first);
        for (const [from, to] of ranges) {
            for (let number = from; number <= to; ++number) lineOf(file, number)?.classList.add('marked');
        }
        marked = [file, first];
        scrollToMark();
    }

    function scrollToMark() {
        if (!marked || isFolded()) return;
        const box = pane.getBoundingClientRect();
        pane.scrollTop += lineOf(marked[0], marked[1]).getBoundingClientRect().top - box.top - box.height / 4;
    }

    const mayMove = () => !hold.checked && view.value === 'code';
    let current;

    /** The block at hand: the last one whose top is above the middle of the window. */
    const blockAtHand = () =>
        blocks.filter((block) => block.offsetParent && block.getBoundingClientRect().top < innerHeight / 2).at(-1);

    /** Notes which block is at hand; whether it is another one than before. */
    function noteBlock() {
        const block = blockAtHand();
        if (!block || block === current) return false;
        current?.classList.remove('at-hand');
        current = block;
        block.classList.add('at-hand');
        return true;
    }

    function follow() {
        if (!mayMove() || !noteBlock()) return;
        const { file, lines } = current.dataset;
        mark(file, lines.split(' ').map((range) => range.split('-').map(Number)));
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
        const file = fileNamed(base);
        if (!file || !lineOf(file, number)) return false;
        if (view.value !== 'code') choose('code');
        setFolded(false);
        mark(file.dataset.file, [[Number(number), Number(number)]]);
        return true;
    }

    document.addEventListener('click', (event) => {
        const link = event.target.closest?.('a.to-code');
        if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
        const hash = link.getAttribute('href');
        noteBlock(); // so that a scrolling that is under way does not take the reader back
        if (!toLine(hash)) return;
        event.preventDefault();
        history.pushState(null, '', hash);
    });
    addEventListener('popstate', () => toLine(location.hash));
    addEventListener('show-code', ({ detail: { file, line } }) => {
        if (mayMove()) mark(file, [[line, line]]);
    });
    choose('code');
    mark(files[0].dataset.file, [[1, 1]]);
    setFolded(true);

    /** Goes to the line that the address names. The browser scrolls there, too, which must not lead away from it. */
    function toAddress() {
        const isLine = toLine(decodeURIComponent(location.hash));
        if (isLine) noteBlock();
        return isLine;
    }

    if (!toAddress()) follow();
    addEventListener('load', toAddress);
})();
