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
    let marked; // the file, and the first and last line

    const isFolded = () => pane.classList.contains('folded');

    function setFolded(folded) {
        pane.classList.toggle('folded', folded && narrow.matches);
        fold.hidden = whole.hidden = !narrow.matches;
        fold.setAttribute('aria-expanded', String(!isFolded()));
        scrollToMark();
    }

    /** Shows only the function that has this line if the window is narrow; all lines if none has it. */
    function showFunction(file, number) {
        const [name, first, last] = functions.get(file).find(([, from, to]) => from <= number && number <= to) ?? [];
        const only = narrow.matches && name !== undefined;
        fold.textContent = `The code: ${baseOf(file.dataset.file)}${name ? `, ${name}()` : ''}`;
        file.querySelector('pre').style.counterReset = only ? `line ${first - 1}` : '';
        file.querySelectorAll('.line').forEach((line, index) => {
            line.hidden = only && (index + 1 < first || index + 1 > last);
        });
    }

    fold.addEventListener('click', () => setFolded(!isFolded()));
    whole.addEventListener('click', () => {
        showFunction(marked[0], 0);
        scrollToMark();
    });
    narrow.addEventListener('change', () => {
        showFunction(marked[0], marked[1]);
        setFolded(true);
    });

    // ---- Which lines are marked ------------------------------------------------------------

    /** Marks lines of a file, and brings them into view in the pane alone. */
    function mark(name, first, last) {
        const at = `${name}:${first}-${last}`;
        if (pane.dataset.at === at && view.value === 'code') return;
        const file = files.find((one) => one.dataset.file === name);
        if (!file) return;
        pane.dataset.at = at;
        for (const line of pane.querySelectorAll('.line.marked')) line.classList.remove('marked');
        open(file);
        showFunction(file, first);
        for (let number = first; number <= last; ++number) lineOf(file, number)?.classList.add('marked');
        marked = [file, first, last];
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
        const { file, first, last } = current.dataset;
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
        const file = fileNamed(base);
        if (!file || !lineOf(file, number)) return false;
        if (view.value !== 'code') choose('code');
        setFolded(false);
        mark(file.dataset.file, Number(number), Number(number));
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
        if (mayMove()) mark(file, line, line);
    });
    choose('code');
    mark(files[0].dataset.file, 1, 1);
    setFolded(true);
    if (!toLine(decodeURIComponent(location.hash))) follow();

    // ---- What a system call does -----------------------------------------------------------

    const card = document.createElement('div');
    card.className = 'card';
    card.setAttribute('role', 'tooltip');
    card.id = 'card';
    card.hidden = true;
    document.body.append(card);
    const script = document.createElement('script');
    script.src = `${document.body.dataset.root}assets/calls.js`;
    document.head.append(script);
    let leaving = 0;

    function describe(link) {
        const call = window.calls?.[link.dataset.call];
        if (!call) return;
        clearTimeout(leaving);
        const name = document.createElement('strong');
        name.textContent = `${link.dataset.call}()`;
        const more = document.createElement('small');
        more.textContent = `${call.man} · tested by ${call.test} · click: where it is explained`;
        card.replaceChildren(name, ` ${call.what}`, document.createElement('br'), more);
        card.hidden = false;
        const box = link.getBoundingClientRect();
        const size = card.getBoundingClientRect();
        card.style.left = `${Math.max(8, Math.min(box.left, innerWidth - size.width - 8))}px`;
        card.style.top = `${box.bottom + size.height + 12 < innerHeight ? box.bottom + 6 : box.top - size.height - 6}px`;
        link.setAttribute('aria-describedby', 'card');
    }

    function hide() {
        card.hidden = true;
        document.querySelector('[aria-describedby=card]')?.removeAttribute('aria-describedby');
    }

    // The pointer may go onto the card without losing it.
    const hideSoon = () => (leaving = setTimeout(hide, 150));
    card.addEventListener('mouseenter', () => clearTimeout(leaving));
    card.addEventListener('mouseleave', hideSoon);
    for (const [show, away] of [['mouseover', 'mouseout'], ['focusin', 'focusout']]) {
        document.addEventListener(show, (event) => {
            const link = event.target.closest?.('a.call');
            if (link) describe(link);
        });
        document.addEventListener(away, (event) => {
            if (event.target.closest?.('a.call')) hideSoon();
        });
    }
    document.addEventListener('keydown', (event) => {
        if (event.key === 'Escape') hide();
    });
})();
