// The recorded run of a program, moment by moment, and a second program on the same clock.
(() => {
    const slower = 25; // so many times slower than it was
    const least = 350; // ms for which each recorded moment is shown, however soon the next one follows
    const end = 345; // ms of what is shown
    const waited = 3; // ms: a call that takes as long has waited
    const root = document.body.dataset.root;

    /** Loads a script of the site, once. */
    function load(name) {
        return new Promise((resolve, reject) => {
            const script = document.createElement('script');
            script.src = `${root}assets/${name}`;
            script.onload = resolve;
            script.onerror = () => reject(new Error(`${name} could not be loaded`));
            document.head.append(script);
        });
    }

    const percent = (ms) => `${(100 * Math.max(0, Math.min(end, ms))) / end}%`;

    /** An element with this text. */
    function element(tag, text = '', className = '') {
        const made = document.createElement(tag);
        made.textContent = text;
        made.className = className;
        return made;
    }

    /** A lane, and what puts a piece of a kind into it, from one moment to another. */
    function emptyLane(name) {
        const track = element('div', '', 'track');
        const line = element('div', name, 'lane');
        track.append(element('b'));
        line.append(track);
        const add = (from, to, kind) => {
            const piece = element('i', '', kind);
            piece.style.left = percent(from);
            piece.style.width = `max(${kind === 'works' ? 2 : 4}px, ${percent(to - from)})`;
            track.lastChild.before(piece);
        };
        return { line, add };
    }

    /** A thread's time: framed while it waits in a call, full while it works or spins. */
    function threadLane(recording, { name, calls }) {
        const { line, add } = emptyLane(name === 'main' ? 'server' : name);
        for (const { start, end, times } of calls) {
            const to = end ?? recording['recorded until'];
            add(Math.max(0, start), to, times ? 'spins' : to - start >= waited ? 'waits' : 'works');
        }
        return line;
    }

    /** A client's time, from its connect() to its end: dashed while it waits in the queue. */
    function clientLane(recording, { name, events }) {
        const calls = recording.threads.flatMap((thread) => thread.calls);
        const accepted = calls.find((call) => isAccept(call) && call.result === name)?.end;
        const isOver = ['left', 'end of file', 'reset', 'refused'].includes(events.at(-1).what);
        const last = isOver ? events.at(-1).time : recording['recorded until'];
        const { line, add } = emptyLane(name);
        add(events[0].time, Math.min(accepted ?? last, last), 'queued');
        if (accepted !== undefined) add(accepted, last, 'served');
        return line;
    }

    /** The time below the lanes, in ms. */
    function axis() {
        const { line } = emptyLane('ms');
        const track = line.querySelector('.track');
        for (const ms of [0, 100, 200, 300]) {
            const tick = element('span', String(ms));
            tick.style.left = percent(ms);
            track.append(tick);
        }
        line.classList.add('axis');
        return line;
    }

    /** What a thread does, in words. */
    function doing(thread) {
        if (thread.isOver) return 'has ended';
        if (thread.spin) {
            const turn = thread.spin.turn.map((call) => `${call}()`).join(' and ');
            const [soFar, times] = [thread.spin.soFar, thread.spin.times].map((number) => number.toLocaleString('en'));
            return `spins: ${turn} again and again, about ${soFar} of ${times} times by now`;
        }
        if (!thread.call) return 'works';
        if (!thread.inCall) return `works, after ${thread.call}()`;
        if (thread.for === 'any') return `in ${thread.call}(), for any of them`;
        if (thread.for === 'listener') return `in ${thread.call}(), for a client`;
        return thread.for ? `in ${thread.call}(), for ${thread.for}` : `in ${thread.call}()`;
    }

    /** The state as rows: a name, some words, and perhaps the place in the code. */
    function rowsOf(program, state) {
        const rows = [
            ...Object.entries(state.clients).map(([name, phase]) => [`client ${name}`, phase]),
            ['accept queue', state.queue.join(', ') || 'empty'],
            ...state.threads.map((thread) => [
                `thread ${thread.name}`,
                doing(thread),
                thread.isOver ? undefined : window.callSites[program][thread.call],
            ]),
        ];
        if (state.watched) {
            rows.push([program >= '06' ? 'interest list' : 'passed at each wait', state.watched.join(', ')]);
            rows.push([program >= '06' ? 'ready list' : 'ready', state.ready.join(', ') || 'empty']);
        }
        return rows;
    }

    /** A link to a line: in the pane if it is code of this lesson's stage. */
    function placeLink({ file, line }, isOwn) {
        const base = file.split('/').pop();
        const link = element('a', `${base}, ${line}`);
        link.href = isOwn ? `#${base}-L${line}` : `${root}${file}.html#L${line}`;
        if (isOwn) link.className = 'to-code';
        return link;
    }

    /** A program's name as a title: its stage, and which of the two it is. */
    const titleOf = (program) => (program.endsWith('_bare') ? `${program.slice(0, -5)}, bare.cpp` : `${program}, main.cpp`);

    function start(place) {
        const stage = place.dataset.stage;
        const isOwn = (program) => program === stage || program === `${stage}_bare`;
        const find = (name) => place.querySelector(`[data-part=${name}]`);
        const [play, slider, clock, scenario, own, other, panels] =
            ['play', 'slider', 'clock', 'scenario', 'program', 'other', 'stages'].map(find);
        let moments = [];
        let time = 0;
        let isPlaying = false;
        place.hidden = false;
        const recordingOf = (program) => window.recordings[scenario.value][program];

        let loading;
        function ready() {
            loading ??= Promise.all([load('recordings.js'), load('state.js')])
                .then(choose)
                .catch((error) => {
                    loading = undefined;
                    panels.textContent = error.message;
                    throw error;
                });
            return loading;
        }

        function choose() {
            const shown = [...new Set([own.value, other.value])].filter(Boolean);
            moments = [...new Set(shown.flatMap((name) => momentsOf(recordingOf(name))))]
                .filter((moment) => moment <= end)
                .sort((a, b) => a - b);
            panels.replaceChildren(...shown.map(panel));
            show(time);
        }

        function panel(name) {
            const part = element('section');
            part.dataset.program = name;
            const recording = recordingOf(name);
            const lanes = element('div', '', 'lanes');
            lanes.append(
                ...recording.clients.map((client) => clientLane(recording, client)),
                ...recording.threads.map((thread) => threadLane(recording, thread)),
                axis(),
            );
            lanes.addEventListener('pointerdown', goThere);
            lanes.addEventListener('pointermove', (event) => event.buttons && goThere(event));
            part.append(element('h3', titleOf(name)), lanes, element('dl'));
            return part;
        }

        /** A press on the lanes goes to that moment. */
        function goThere(event) {
            const { left, width } = event.currentTarget.querySelector('.track').getBoundingClientRect();
            stop();
            show((end * (event.clientX - left)) / width);
        }

        function show(moment) {
            time = Math.max(0, Math.min(end, moment));
            slider.value = String(time);
            slider.setAttribute('aria-valuetext', `${time.toFixed(1)} ms`);
            clock.textContent = `${time.toFixed(1)} ms`;
            place.dataset.time = String(time);
            for (const part of panels.children) describe(part);
        }

        function describe(part) {
            const { program } = part.dataset;
            const state = stateOf(recordingOf(program), time);
            for (const now of part.querySelectorAll('.track b')) now.style.left = percent(time);
            const rows = rowsOf(program, state);
            const words = JSON.stringify(rows);
            if (part.dataset.words === words) return; // nothing has changed
            part.dataset.words = words;
            part.querySelector('dl').replaceChildren(
                ...rows.flatMap(([name, value, site]) => {
                    const said = element('dd', value);
                    if (site) said.append(' ', placeLink(site, isOwn(program)));
                    return [element('dt', name), said];
                }),
            );
            if (program === own.value) showCode(state);
        }

        /** Marks the call of the thread at hand: one that is in a call for a client, or else the main one. */
        function showCode({ threads }) {
            const thread = threads.find(({ inCall, name }) => inCall && name !== 'main') ?? threads[0];
            const site = window.callSites[own.value][thread.call];
            if (site) dispatchEvent(new CustomEvent('show-code', { detail: site }));
        }

        function step(direction) {
            stop();
            const next = direction > 0 ? moments.find((moment) => moment > time) : moments.filter((moment) => moment < time).at(-1);
            if (next !== undefined) show(next);
        }

        function stop() {
            isPlaying = false;
            play.textContent = 'Play';
        }

        async function toggle() {
            if (isPlaying) return stop();
            isPlaying = true;
            play.textContent = 'Pause';
            await ready();
            if (time >= end) show(0);
            let before = performance.now();
            let pause = 0; // ms for which the moment at hand stays
            const run = (now) => {
                if (!isPlaying) return;
                const passed = now - before;
                before = now;
                pause -= passed;
                if (pause <= 0) {
                    const next = moments.find((moment) => moment > time) ?? end;
                    const wished = time + passed / slower;
                    if (wished >= next) pause = least;
                    show(Math.min(wished, next));
                }
                if (time < end) requestAnimationFrame(run);
                else stop();
            };
            requestAnimationFrame(run);
        }

        play.addEventListener('click', toggle);
        find('back').addEventListener('click', () => ready().then(() => step(-1)));
        find('on').addEventListener('click', () => ready().then(() => step(1)));
        slider.addEventListener('input', () => {
            const wished = Number(slider.value);
            stop();
            ready().then(() => show(wished));
        });
        for (const box of [scenario, own, other]) box.addEventListener('change', () => ready().then(choose));
        place.addEventListener('keydown', (event) => {
            const direction = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
            if (!direction || event.target.tagName === 'SELECT' || event.altKey || event.ctrlKey || event.metaKey) return;
            event.preventDefault();
            ready().then(() => step(direction));
        });
        new IntersectionObserver(([seen], observer) => {
            if (!seen.isIntersecting) return;
            observer.disconnect();
            ready();
        }).observe(place);
    }

    for (const place of document.querySelectorAll('.replay')) start(place);
})();
