// The search. Its index is a script of its own, since fetch() does not work from file://. It is loaded
// when the reader goes to the search box for the first time.
(() => {
    const box = document.getElementById('query');
    const hits = document.getElementById('hits');
    const search = document.querySelector('.search');
    const root = document.body.dataset.root;
    let index;
    let loading;

    function load() {
        loading ??= new Promise((resolve, reject) => {
            const script = document.createElement('script');
            script.src = `${root}assets/search-index.js`;
            script.onload = resolve;
            script.onerror = reject;
            document.head.append(script);
        }).then(() => {
            index = MiniSearch.loadJS(window.searchIndex, {
                fields: ['heading', 'title', 'words'],
                storeFields: ['heading', 'title', 'address'],
            });
        });
        loading.catch(() => (loading = undefined)); // so that the next word tries again
        return loading;
    }

    function close() {
        hits.replaceChildren();
        hits.hidden = true;
    }

    async function show() {
        await load();
        const found = index.search(box.value, {
            prefix: true,
            fuzzy: (word) => (word.length > 4 ? 0.2 : false),
            boost: { heading: 4, title: 2 },
            combineWith: 'AND',
        });
        hits.replaceChildren(...found.slice(0, 12).map(item));
        hits.hidden = box.value === '';
        if (!found.length && box.value) hits.append(nothing());
    }

    function item(hit) {
        const link = document.createElement('a');
        link.href = root + hit.address;
        const heading = document.createElement('strong');
        heading.textContent = hit.heading;
        const title = document.createElement('span');
        title.textContent = hit.title === hit.heading ? '' : hit.title;
        link.append(heading, title);
        const line = document.createElement('li');
        line.append(link);
        return line;
    }

    function nothing() {
        const line = document.createElement('li');
        line.textContent = `Nothing has all of: ${box.value}`;
        return line;
    }

    search.hidden = false;
    box.addEventListener('focus', load);
    box.addEventListener('input', show);
    box.addEventListener('keydown', (event) => {
        if (event.key === 'Escape') {
            box.value = '';
            close();
        }
        if (event.key === 'Enter') hits.querySelector('a')?.click();
        if (event.key === 'ArrowDown') {
            event.preventDefault();
            hits.querySelector('a')?.focus();
        }
    });
    search.addEventListener('focusout', (event) => {
        if (event.relatedTarget && !search.contains(event.relatedTarget)) close();
    });
    document.addEventListener('click', (event) => {
        if (!search.contains(event.target) || event.target.closest('#hits a')) close();
    });
    hits.addEventListener('keydown', (event) => {
        const line = document.activeElement.closest('li');
        const to = { ArrowDown: line?.nextElementSibling, ArrowUp: line?.previousElementSibling }[event.key];
        if (to) to.querySelector('a')?.focus();
        else if (event.key === 'ArrowUp' || event.key === 'Escape') box.focus();
        else return;
        event.preventDefault();
    });
})();
