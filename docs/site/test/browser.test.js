// The site in a browser: Debian's Chromium, without a window.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';

import { build } from '../build.js';
import { output, pages, addressOf, stages } from '../lib/tree.js';
import { serve } from '../serve.js';

const program = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']
    .find((file) => file && fs.existsSync(file));
const axe = fs.readFileSync(fileURLToPath(import.meta.resolve('axe-core/axe.min.js')), 'utf8');

describe('in a browser', { skip: program ? false : 'no Chromium here' }, () => {
    let browser;
    let server;
    const roots = {};

    before(async () => {
        assert.deepEqual(build(), []);
        const started = await serve();
        server = started.server;
        roots['the server'] = started.address;
        roots['file://'] = `${pathToFileURL(output)}/`;
        browser = await chromium.launch({ executablePath: program, args: ['--no-sandbox'] });
    });
    after(async () => {
        await browser?.close();
        server?.close();
    });

    /** Opens a page; `trouble` collects errors of its scripts and requests that failed. */
    async function open(address, { root = 'file://', ...options } = {}) {
        const context = await browser.newContext({ viewport: { width: 1400, height: 900 }, ...options });
        const page = await context.newPage();
        const trouble = [];
        page.on('pageerror', (error) => trouble.push(String(error)));
        page.on('console', (message) => message.type() === 'error' && trouble.push(message.text()));
        page.on('requestfailed', (request) => trouble.push(request.url()));
        page.on('response', (response) => response.status() >= 400 && trouble.push(`${response.status()} ${response.url()}`));
        await page.goto(roots[root] + address);
        return { page, trouble, close: () => context.close() };
    }

    const markedLines = (page) => page.$$eval('.line.marked', (lines) => lines.map((line) => line.id));

    /** The numbers of the lines in a text such as "3-5 9-9". */
    const numbersOf = (lines) =>
        lines.split(' ').flatMap((range) => {
            const [from, to] = range.split('-').map(Number);
            return Array.from({ length: to - from + 1 }, (_, index) => from + index);
        });

    const stage06 = 'docs/06_epoll_level.html';
    const top = (page, selector) => page.$eval(selector, (element) => element.getBoundingClientRect().top);

    for (const root of ['file://', 'the server']) {
        test(`no page has an error or a request that fails, from ${root}`, async () => {
            const { page, trouble, close } = await open('index.html', { root });
            for (const file of [...pages(), '06_epoll_level/poller.h', 'bench/results']) {
                await page.goto(roots[root] + addressOf(file));
                assert.deepEqual(trouble, [], file);
            }
            await close();
        });
    }

    test('the block at hand is marked in the code, and the lesson does not move', async () => {
        const { page, close } = await open(stage06);
        const block = page.locator('figure[data-file="06_epoll_level/poller.h"]').first();
        await block.evaluate((element) => scrollTo(0, element.getBoundingClientRect().top + scrollY - 200));
        await page.waitForSelector('figure.at-hand[data-file="06_epoll_level/poller.h"]');
        const before = await page.evaluate(() => scrollY);
        const { lines } = await block.evaluate((element) => element.dataset);
        const [first] = lines.split('-');
        assert.deepEqual(await markedLines(page), numbersOf(lines).map((number) => `poller.h-L${number}`));
        const seen = await top(page, `[id="poller.h-L${first}"]`);
        assert.ok(seen > 0 && seen < 900, `line ${first} is at ${seen}`);
        assert.equal(await page.evaluate(() => scrollY), before);
        await close();
    });

    /** Scrolls until this block is the one at hand. */
    const scrollTo = (page, index) =>
        page.locator('article > figure[data-file]').nth(index)
            .evaluate((element) => window.scrollTo(0, element.getBoundingClientRect().top + scrollY - 200));
    const twoFrames = (page) => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));

    test('what stands between the parts of a block is not marked', async () => {
        const { page, close } = await open(stage06);
        const block = page.locator('article > figure[data-lines*=" "]').first();
        await block.evaluate((element) => window.scrollTo(0, element.getBoundingClientRect().top + scrollY - 200));
        const { lines, file } = await block.evaluate((element) => element.dataset);
        const wanted = numbersOf(lines).map((number) => `${file.split('/').pop()}-L${number}`);
        await page.waitForFunction((id) => document.querySelector('.line.marked')?.id === id, wanted[0]);
        assert.deepEqual(await markedLines(page), wanted);
        await close();
    });

    test('the code can be held, and follows again', async () => {
        const { page, close } = await open(stage06);
        await scrollTo(page, 0);
        await page.waitForSelector('figure.at-hand');
        const at = await page.getAttribute('.pane', 'data-at');
        await page.check('#hold');
        await scrollTo(page, 3);
        await twoFrames(page);
        assert.equal(await page.getAttribute('.pane', 'data-at'), at);
        await page.uncheck('#hold');
        await page.waitForFunction((before) => document.querySelector('.pane').dataset.at !== before, at);
        await close();
    });

    test('what changed stays while one reads on', async () => {
        const { page, close } = await open(stage06);
        await page.selectOption('#view', 'changes');
        await scrollTo(page, 2);
        await twoFrames(page);
        assert.ok(await page.isVisible('#view-changes'));
        await close();
    });

    test('a function in the text leads to its code, and a mark in the code to the text', async () => {
        const { page, close } = await open(stage06);
        const link = page.locator('article a.to-code code', { hasText: 'Poller::wait()' }).first();
        await link.click();
        const marked = page.locator('.line.marked');
        assert.match(await marked.first().textContent(), /void wait\(/);
        const mark = page.locator('#view-code a.explained').first();
        const target = await mark.getAttribute('href');
        const line = await mark.evaluate((element) => element.closest('.line').id);
        const { lines, file } = await page.$eval(target, (element) => element.dataset);
        assert.ok(lines.split(' ').some((range) => line === `${file.split('/').pop()}-L${range.split('-')[0]}`));
        await mark.evaluate((element) => element.click());
        const seen = await top(page, target);
        assert.ok(seen >= 0 && seen < 900, `the block is at ${seen}`);
        await close();
    });

    test('the switch shows what changed', async () => {
        const { page, close } = await open(stage06);
        await page.selectOption('#view', 'changes');
        assert.match(await page.textContent('#view-changes'), /\+\s*.*epoll_create1/);
        assert.ok(!(await page.isVisible('#view-code')));
        await page.selectOption('#view', 'bare-main');
        assert.match(await page.textContent('#view-bare-main'), /epoll_wait/);
        await close();
    });

    test('after 07 comes a lesson beyond the seven, beside its code and what changed since 07', async () => {
        const { page, trouble, close } = await open('docs/07_epoll_edge.html');
        await page.locator('.neighbours a', { hasText: 'Beyond the article' }).first().click();
        await page.waitForURL(/docs\/08_workers\.html$/);
        const tabs = await page.locator('.tabs button').allTextContents();
        assert.deepEqual(tabs.slice(1, 4), ['main.cpp', 'workers.h', 'store.h']);
        await page.locator('.tabs button', { hasText: 'workers.h' }).click();
        assert.ok(await page.isVisible('[id="workers.h-L1"]'));
        await page.selectOption('#view', { label: 'What changed since 07_epoll_edge' });
        assert.match(await page.textContent('#changed-server\\.h'), /\+.*workers_/);
        await page.locator('.neighbours a', { hasText: '← 07_epoll_edge' }).first().click();
        await page.waitForURL(/docs\/07_epoll_edge\.html$/);
        assert.deepEqual(trouble, []);
        await close();
    });

    test('a system call tells what it is, by mouse and by keyboard', async () => {
        const { page, close } = await open(stage06);
        const call = page.locator('#view-code .file:not([hidden]) a[data-call=epoll_create1]').first();
        await call.scrollIntoViewIfNeeded();
        await page.waitForFunction(() => window.calls);
        await call.hover();
        assert.match(await page.textContent('#card'), /epoll_create\(2\)/);
        await page.mouse.move(5, 5);
        await page.waitForSelector('#card', { state: 'hidden' });
        await call.focus();
        assert.ok(await page.isVisible('#card'));
        await page.keyboard.press('Escape');
        await page.locator('article figure a[data-call=epoll_ctl]').first().hover();
        assert.match(await page.textContent('#card'), /epoll_ctl\(2\)/);
        await page.goto(roots['file://'] + `${stages[5]}/poller.h.html`);
        await page.waitForFunction(() => window.calls);
        await page.locator('a[data-call=epoll_create1]').first().hover();
        assert.match(await page.textContent('#card'), /epoll_create\(2\)/);
        await close();
    });

    test('the replay: one step on, one back, by keys, and beside another stage', async () => {
        const { page, trouble, close } = await open('docs/02_blocking_loop.html');
        const replay = page.locator('.replay');
        const slider = replay.locator('[data-part=slider]');
        await slider.focus();
        await page.keyboard.press('ArrowRight');
        await page.waitForSelector('.replay dl dd');
        const time = async () => Number(await replay.getAttribute('data-time'));
        const first = await time();
        assert.ok(first > 0);
        await page.keyboard.press('ArrowRight');
        assert.ok((await time()) > first);
        await page.keyboard.press('ArrowLeft');
        assert.equal(await time(), first);
        await replay.locator('[data-part=other]').selectOption('06_epoll_level');
        await slider.evaluate((element) => {
            element.value = '150';
            element.dispatchEvent(new Event('input', { bubbles: true }));
        });
        await page.waitForFunction(() => document.querySelector('.replay').dataset.time === '150');
        const shown = await replay.locator('[data-part=stages] section').allTextContents();
        assert.match(shown[0], /accept queueB, C/);
        assert.match(shown[0], /in recv\(\), for A/);
        assert.match(shown[1], /client Bhas its answer/);
        assert.match(await page.textContent('.line.marked'), /::recv\(/);
        await replay.locator('[data-part=scenario]').selectOption('leaves');
        await replay.locator('[data-part=program]').selectOption('02_blocking_loop_bare');
        await page.waitForFunction(() => document.querySelector('.replay dl').textContent.includes('spins: recv() again and again'));
        assert.match(await page.textContent('.line.marked'), /= recv\(/);
        const timesSoFar = async () => Number((await replay.locator('dl').first().textContent()).match(/about ([\d,]+) of/)[1].replace(',', ''));
        const before = await timesSoFar();
        const { x, y, width } = await replay.locator('.track').first().boundingBox();
        await page.mouse.click(x + (width * 300) / 345, y + 5);
        assert.ok(Math.abs((await time()) - 300) < 3);
        assert.ok((await timesSoFar()) > before);
        await replay.locator('[data-part=scenario]').selectOption('pauses');
        await replay.locator('[data-part=program]').selectOption('02_blocking_loop');
        await replay.locator('[data-part=play]').click();
        await page.waitForFunction(() => Number(document.querySelector('.replay').dataset.time) > 150);
        await replay.locator('[data-part=play]').click();
        const stopped = await time();
        await twoFrames(page);
        assert.equal(await time(), stopped);
        await page.check('#hold');
        const at = await page.getAttribute('.pane', 'data-at');
        await replay.locator('[data-part=back]').click();
        assert.ok((await time()) < stopped);
        assert.equal(await page.getAttribute('.pane', 'data-at'), at);
        assert.deepEqual(trouble, []);
        await close();
    });

    test('the comparison: one client, and where two stages differ', async () => {
        const { page, close } = await open('docs/reference/comparison.html');
        const controls = page.locator('.controls').first();
        const rows = page.locator('.table').first().locator('tbody tr:visible');
        const all = await rows.count();
        await controls.locator('select').nth(1).selectOption('02');
        await controls.locator('select').nth(2).selectOption('06');
        const different = await rows.count();
        assert.ok(different > 0 && different < all, `${different} of ${all}`);
        for (const row of await rows.all()) {
            const cells = await row.locator('td:visible').allTextContents();
            assert.notEqual(cells[1], cells[2]);
        }
        await controls.locator('select').nth(0).selectOption({ label: 'connects and sends nothing' });
        await controls.locator('select').nth(1).selectOption('03');
        assert.match(await controls.textContent(), /03 and 06 do the same/);
        await controls.locator('select').nth(1).selectOption('');
        await controls.locator('select').nth(0).selectOption({ label: 'connects and sends nothing' });
        assert.equal(await rows.count(), 1);
        await rows.locator('a').filter({ hasText: 'ComparisonOfOneClient.Silence' }).click();
        assert.match(await page.textContent('.line:target'), /TEST.*ComparisonOfOneClient, Silence/);
        await close();
    });

    test('the search finds an error text', async () => {
        for (const root of Object.keys(roots)) {
            const { page, trouble, close } = await open('index.html', { root });
            await page.fill('#query', 'Address already in use');
            await page.waitForSelector('#hits a');
            assert.match(await page.textContent('#hits li:first-child'), /Address already in use/);
            await page.keyboard.press('Enter');
            await page.waitForURL(/symptoms\.html#/);
            assert.deepEqual(trouble, []);
            await close();
        }
    });

    test('the search finds a function, and the recorded run; typing does not scroll', async () => {
        const { page, close } = await open(stage06);
        await page.evaluate(() => scrollTo(0, 3000));
        const hit = async (words) => {
            await page.fill('#query', '');
            await page.locator('#query').pressSequentially(words);
            await page.waitForSelector('#hits a');
            return page.textContent('#hits li:first-child');
        };
        assert.match(await hit('recorded run'), /The recorded run/);
        assert.match(await hit('Poller::wait'), /Poller::wait\(\)\d\d_\w+\/poller\.h/);
        assert.equal(await page.evaluate(() => scrollY), 3000);
        await page.locator('#hits a', { hasText: '05_poll/poller.h' }).click();
        await page.waitForURL(/05_poll\.html#poller\.h-L/);
        assert.match(await page.textContent('.line.marked'), /void wait\(/);
        await close();
    });

    test('nothing scrolls sideways at 390 px', async () => {
        const { page, close } = await open('index.html', { viewport: { width: 390, height: 800 } });
        for (const file of pages()) {
            await page.goto(roots['file://'] + addressOf(file));
            const width = await page.evaluate(() => document.documentElement.scrollWidth);
            assert.ok(width <= 390, `${file} is ${width} px wide`);
        }
        await close();
    });

    test('in one column, the code is folded to the function at hand', async () => {
        const { page, close } = await open(stage06, { viewport: { width: 390, height: 800 } });
        const fold = page.locator('#fold');
        await page.locator('figure[data-file$="/poller.h"]').first()
            .evaluate((element) => scrollTo(0, element.getBoundingClientRect().top + scrollY - 100));
        await page.waitForFunction(() => document.getElementById('fold').textContent.includes('poller.h, wait()'));
        assert.ok(!(await page.isVisible('#view-code')));
        await fold.click();
        const lines = await page.locator('#view-code .line:visible').allTextContents();
        assert.match(lines[0], /void wait\(/);
        assert.match(lines.at(-1), /^ {4}\}$/);
        const { bottom } = await page.$eval('.pane', (pane) => pane.getBoundingClientRect());
        assert.ok(bottom <= 800);
        await page.mouse.click(200, 100); // outside of the pane
        assert.ok(!(await page.isVisible('#view-code')));
        await fold.click();
        await fold.click(); // it stays where it can be seen
        assert.ok(!(await page.isVisible('#view-code')));
        await close();
    });

    test('without script both panes are there', async () => {
        const { page, close } = await open(stage06, { javaScriptEnabled: false });
        assert.ok(await page.isVisible('article h2'));
        assert.ok(await page.isVisible('[id="bare.cpp-L1"]'));
        const file = page.locator('#view-code details[data-file$="/poller.h"]');
        assert.ok(!(await file.locator('pre').isVisible()));
        await file.locator('summary').click();
        assert.ok(await file.locator('pre').isVisible());
        await close();
    });

    for (const colorScheme of ['light', 'dark']) {
        test(`axe finds nothing in ${colorScheme}`, async () => {
            for (const address of ['index.html', stage06, 'docs/reference/symptoms.html', 'docs/reference/comparison.html', `${stages[5]}/poller.h.html`]) {
                const { page, close } = await open(address, { colorScheme });
                if (address === stage06) await page.locator('.replay').scrollIntoViewIfNeeded();
                if (address === stage06) await page.waitForSelector('.replay dd');
                await page.evaluate(axe);
                const { violations } = await page.evaluate(() => axe.run());
                assert.deepEqual(violations.map((v) => `${v.id}: ${v.nodes.slice(0, 3).map((n) => n.html)}`), [], address);
                await close();
            }
        });
    }
});
