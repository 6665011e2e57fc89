// The recorded run of a stage, step by step, and a second stage on the same clock.
(() => {
    const slower = 25; // so many times slower than it was
    const last = 345; // ms of what is shown

    for (const place of document.querySelectorAll('.replay')) start(place);

    function start(place) {
        const own = place.dataset.stage;
        const root = document.body.dataset.root;
        const find = (name) => place.querySelector(`[data-part=${name}]`);
        const [play, back, on, slider, clock, other, stages] = ['play', 'back', 'on', 'slider', 'clock', 'other', 'stages'].map(find);
        let recordings;
        let moments = [];
        let time = 0;
        let timer = 0;
        place.hidden = false;

        const load = (name) =>
            new Promise((resolve, reject) => {
                const script = document.createElement('script');
                script.src = `${root}assets/${name}`;
                script.onload = resolve;
                script.onerror = reject;
                document.head.append(script);
            });
        let loading;
        function ready() {
            loading ??= Promise.all([load('recordings.js'), load('state.js')]).then(() => {
                recordings = window.recordings;
                choose();
            });
            return loading;
        }

        /** The stages that are shown: this one, and the one that was chosen beside it. */
        const shown = () => [own, other.value].filter((name, index, all) => name && all.indexOf(name) === index);

        function choose() {
            const all = shown().flatMap((name) => momentsOf(recordings[name]));
            moments = [...new Set(all)].filter((moment) => moment <= last).sort((a, b) => a - b);
            slider.max = String(last);
            stages.replaceChildren(...shown().map(panel));
            show(time);
        }

        function panel(name) {
            const part = document.createElement('section');
            part.dataset.stage = name;
            part.innerHTML = `<h4>${name}</h4><div class="lanes"></div><dl></dl>`;
            part.querySelector('.lanes').append(...recordings[name].clients.map((client) => lane(recordings[name], client)));
            return part;
        }

        /** A client's time, from its connect() to its end, as a bar. */
        function lane(recording, { name, events }) {
            const accepted = recording.threads.flatMap(({ calls }) => calls)
                .find(({ call, result }) => call === 'accept4' && result === name)?.end;
            const line = document.createElement('div');
            line.className = 'lane';
            line.append(name);
            const bar = (from, to, kind) => {
                const piece = document.createElement('i');
                piece.className = kind;
                piece.style.left = `${(100 * from) / last}%`;
                piece.style.width = `${Math.max(0.6, (100 * (to - from)) / last)}%`;
                track.append(piece);
            };
            const track = document.createElement('div');
            track.className = 'track';
            const end = events.at(-1).time;
            bar(events[0].time, Math.min(accepted ?? end, end), 'queued');
            if (accepted !== undefined) bar(accepted, end, 'served');
            const now = document.createElement('b');
            track.append(now);
            line.append(track);
            return line;
        }

        function show(moment) {
            time = Math.max(0, Math.min(last, moment));
            slider.value = String(time);
            clock.textContent = `${time.toFixed(1)} ms`;
            place.dataset.time = String(time);
            if (!recordings) return;
            for (const part of stages.children) describe(part);
            markCode();
        }

        function describe(part) {
            const state = stateOf(recordings[part.dataset.stage], time);
            for (const now of part.querySelectorAll('.track b')) now.style.left = `${(100 * time) / last}%`;
            const rows = [
                ...Object.entries(state.clients).map(([name, phase]) => [`client ${name}`, phase]),
                ['accept queue', state.queue.join(', ') || 'empty'],
                ...state.threads.filter(({ absent }) => !absent).map((thread) => [`thread ${thread.name}`, doing(thread)]),
            ];
            if (state.watched) {
                rows.push([part.dataset.stage >= '06' ? 'interest list' : 'passed at each wait', state.watched.join(', ')]);
                rows.push(['has something to report', state.ready.join(', ') || 'none']);
            }
            part.querySelector('dl').replaceChildren(
                ...rows.flatMap(([name, value]) => {
                    const term = document.createElement('dt');
                    const words = document.createElement('dd');
                    term.textContent = name;
                    words.textContent = value;
                    return [term, words];
                }),
            );
        }

        function doing(thread) {
            if (thread.ended) return 'has ended';
            if (!thread.call) return 'works';
            const whom = { any: ' for any of them', listener: ' for a client', '': '' }[thread.for] ?? ` for ${thread.for}`;
            return thread.waits ? `in ${thread.call}()${whom}` : `works, after ${thread.call}()`;
        }

        /** Marks the line of the call in the code beside the lesson. */
        function markCode() {
            const state = stateOf(recordings[own], time);
            const thread = state.threads.find(({ waits, name }) => waits && name !== 'main') ?? state.threads[0];
            const site = window.callSites?.[own]?.[thread?.call];
            if (site) dispatchEvent(new CustomEvent('show-code', { detail: site }));
        }

        function step(direction) {
            stop();
            const next = direction > 0 ? moments.find((moment) => moment > time) : moments.filter((moment) => moment < time).at(-1);
            if (next !== undefined) show(next);
        }

        function stop() {
            cancelAnimationFrame(timer);
            timer = 0;
            play.textContent = 'Play';
            play.setAttribute('aria-pressed', 'false');
        }

        async function toggle() {
            if (timer) return stop();
            await ready();
            if (time >= last) show(0);
            play.textContent = 'Pause';
            play.setAttribute('aria-pressed', 'true');
            let before = performance.now();
            const run = (now) => {
                show(time + (now - before) / slower);
                before = now;
                if (time < last) timer = requestAnimationFrame(run);
                else stop();
            };
            timer = requestAnimationFrame(run);
        }

        play.addEventListener('click', toggle);
        back.addEventListener('click', () => ready().then(() => step(-1)));
        on.addEventListener('click', () => ready().then(() => step(1)));
        slider.addEventListener('input', () => {
            const wished = Number(slider.value);
            stop();
            ready().then(() => show(wished));
        });
        other.addEventListener('change', () => ready().then(choose));
        place.addEventListener('keydown', (event) => {
            if (event.target === other) return;
            const direction = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
            if (!direction) return;
            event.preventDefault();
            ready().then(() => step(direction));
        });
    }
})();
