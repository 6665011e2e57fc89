// What a system call does, at the pointer and at the focus: wherever code names one.
(() => {
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
        const test = document.createElement('a');
        test.href = document.body.dataset.root + call.testAddress;
        test.textContent = call.test;
        more.append(`${call.man} · tested by `, test, ' · click: where it is explained');
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
