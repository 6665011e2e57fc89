// Light or dark: what the reader has chosen, or else what the system says. Runs before the page is drawn.
(() => {
    const stored = () => {
        try {
            return localStorage.getItem('theme');
        } catch {
            return null; // pages of file:// may not store anything
        }
    };
    const system = matchMedia('(prefers-color-scheme: dark)');
    const chosen = () => document.documentElement.dataset.theme ?? (system.matches ? 'dark' : 'light');
    if (stored()) document.documentElement.dataset.theme = stored();
    // What is folded is printed, too.
    addEventListener('beforeprint', () => {
        for (const part of document.querySelectorAll('article details:not([open])')) {
            part.dataset.printed = '';
            part.open = true;
        }
    });
    addEventListener('afterprint', () => {
        for (const part of document.querySelectorAll('details[data-printed]')) {
            delete part.dataset.printed;
            part.open = false;
        }
    });
    addEventListener('DOMContentLoaded', () => {
        const button = document.getElementById('theme');
        const show = () => {
            button.textContent = chosen() === 'dark' ? 'Light' : 'Dark';
            button.setAttribute('aria-label', `${button.textContent}: change the colours`);
        };
        button.hidden = false;
        show();
        system.addEventListener('change', show);
        button.addEventListener('click', () => {
            document.documentElement.dataset.theme = chosen() === 'dark' ? 'light' : 'dark';
            try {
                localStorage.setItem('theme', document.documentElement.dataset.theme);
            } catch {
                // Then it is for this page only.
            }
            show();
        });
    });
})();
