"""The whole system on this machine, started with simulators on free ports, and the handles that steps act through.

Everything is loopback, passwords are random each run, and the data folders are marked DEMO. The system itself is the
real one: `gatehouse up` as a child process, a real broker, real RTSP, real MQTT, a real database.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Self

import httpx

from config.portraits import portraits
from gateway.rehearsal.actors import LiveEar, Remote, until
from gateway.rehearsal.layout import CAMERAS, DOORS, Layout
from gateway.rehearsal.processes import Child, kill_descendant, module_argv
from models.errors import GatehouseError

RESIDENT_PHOTOS = ("obama3.jpg", "obama2.jpg")
RESIDENT_AT_DOOR = "obama.jpg"
"""Never sent as a photo: who stands at the door does not look as on the photos, and turned the head there to be enrolled."""
STRANGER_AT_DOOR = "biden.jpg"
VISIT = {"approach_s": 2.0, "stay_s": 5.0, "leave_s": 1.0}
"""How long somebody walks up to the gate, stays and leaves, in s."""
SITTINGS = 4
"""So often the resident walks up to be enrolled, on a machine that misses most frames."""
PICTURES_AT_DOOR = 3
ENROLLED_SEED = 77
"""No visit moves its head in this rhythm: what is compared at the door was not enrolled."""
CONSENT_TEXT = "face-door-demo-1"
Role = Literal["manager", "operator"]
Visitor = Literal["resident", "stranger", "photo"]
"""Who comes to the gate: a resident or a stranger who looks about as people do, or somebody with a resident's photo."""
SHOWN: dict[Visitor, str] = {
    "resident": RESIDENT_AT_DOOR,
    "stranger": STRANGER_AT_DOOR,
    "photo": RESIDENT_PHOTOS[0],
}
"""The portrait of each visitor; the print is of an enrolled photo, so that only the liveness check is in its way."""


class Stage:
    """Run the system with simulators for the length of an `async with` block."""

    layout_type: type[Layout] = Layout

    def __init__(self, directory: Path, *, tell: Callable[[str], None], port: int = 0) -> None:
        self.directory = directory
        self.timings: dict[str, list[float]] = defaultdict(list)
        self.card = f"{secrets.randbits(32) | 0x80000000:08X}"
        self.resident_id = "resident-1"
        self.passwords: dict[Role, str] = {"manager": secrets.token_urlsafe(9), "operator": secrets.token_urlsafe(9)}
        self.url = ""
        self.up_ready_s = 0.0
        self._tell = tell
        self._port = port
        self._children: list[Child] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._clients: dict[Role, httpx.AsyncClient] = {}
        self._portraits: dict[str, Path] = {}
        self._consent_id = ""
        self._up: Child | None = None

    # --- life -------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stop()

    async def _start(self) -> None:
        self._tell("looking at the demo portraits (fetched the first time)")
        self._portraits = await asyncio.to_thread(portraits)
        self.files = self.layout_type(self.directory, port=self._port)
        self.url = f"http://127.0.0.1:{self.files.port}"
        cameras, centre = await asyncio.gather(self._start_cameras(), self._start_centre())
        self.cameras = Remote("simulated cameras", str(cameras["control"]))
        self._centre = httpx.AsyncClient(base_url=str(centre["url"]).rstrip("/").rsplit("/", 1)[0], timeout=10)
        urls: Any = cameras["urls"]
        self.files.write_settings(cameras=urls, centre_url=str(centre["url"]))
        await self._run("apply", str(self.files.path("site.yaml")), "--config", str(self.files.path("gatehouse.yaml")))
        for role, password in self.passwords.items():
            file = self.files.keep_secret(f"{role}.password", password)
            arguments = (role, "--role", role, "--password-file", str(file))
            await self._run("user", "add", *arguments, "--config", str(self.files.path("gatehouse.yaml")))
        await self._start_up()
        await self._start_doors()
        await self._open_the_console()
        await self._move_in()

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in self._clients.values():
            await client.aclose()
        if hasattr(self, "_centre"):
            await self._centre.aclose()
        for child in reversed(self._children):
            await child.stop()

    async def _start_child(
        self, name: str, argv: list[str], *, within_s: float = 30.0, stdin: bytes | None = None
    ) -> dict[str, object]:
        child = Child(name, argv, log_dir=self.files.path("logs"))
        self._children.append(child)
        return await child.start(within_s=within_s, stdin=stdin)

    async def _start_cameras(self) -> dict[str, object]:
        argv = module_argv("drivers", "simulate", "camera", "--port", "0", "--user", "gatehouse", "--password", "-")
        for camera in CAMERAS:
            argv += ["--path", camera]
        secret = self.files.secrets["camera"].encode() + b"\n"
        return await self._start_child("cameras", argv, within_s=60, stdin=secret)

    async def _start_centre(self) -> dict[str, object]:
        argv = module_argv(
            "gateway", "simulate", "centre", "--port", "0", "--key-file", str(self.files.path("centre.secret"))
        )
        return await self._start_child("centre", argv)

    async def _start_doors(self) -> None:
        argv = module_argv("drivers", "simulate", "door", "--broker", f"127.0.0.1:{self.files.broker_port}")
        for door in DOORS:
            argv += ["--door", door]
        argv += [
            "--users",
            str(self.files.path("simulated-doors.json")),
            "--store",
            str(self.files.path("simulated-doors.db")),
        ]
        ready = await self._start_child("doors", argv)
        self.doors = Remote("simulated doors", str(ready["control"]))

    async def _start_up(self) -> None:
        self._tell("starting gatehouse up")
        began = time.monotonic()
        argv = module_argv("gateway", "up", "--demo", "--config", str(self.files.path("gatehouse.yaml")))
        self._up = Child("up", argv, log_dir=self.files.path("logs"))
        self._children.append(self._up)
        await self._up.start(within_s=120)
        self.up_ready_s = time.monotonic() - began

    @property
    def up_pid(self) -> int:
        """Return the process id of `gatehouse up`."""
        if self._up is None:
            raise GatehouseError("the system is not started")
        return self._up.pid

    @property
    def broker_words(self) -> tuple[str, ...]:
        """Return words that single out the broker's process."""
        return (
            ("mosquitto",)
            if shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin")
            else ("mqtt", "broker")
        )

    async def _run(self, *arguments: str) -> None:
        """Run one `gatehouse` command to its end."""
        process = await asyncio.create_subprocess_exec(
            *module_argv("gateway", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), 60)
        if process.returncode != 0:
            raise GatehouseError(
                f"gatehouse {' '.join(arguments[:2])} failed: {output.decode('utf-8', 'replace')[-2000:]}"
            )

    # --- people -----------------------------------------------------------------------------------------------------

    async def _open_the_console(self) -> None:
        for role, password in self.passwords.items():
            client = httpx.AsyncClient(base_url=self.url, headers={"Origin": self.url}, timeout=30)
            self._clients[role] = client
            await self._checked(client.post("/api/v1/session", json={"username": role, "password": password}))
        self.ear = LiveEar(self._clients["operator"])
        self._tasks.append(asyncio.create_task(self.ear.listen()))
        await asyncio.wait_for(self.ear.connected.wait(), 10)
        await until(self._doors_online, what="both doors online on the console", within_s=20)
        await self.vision_ready()

    async def _doors_online(self) -> bool:
        doors = (await self._checked(self._clients["operator"].get("/api/v1/doors")))["items"]
        return {door["id"] for door in doors if door["online"]} >= set(DOORS)

    async def _move_in(self) -> None:
        self._tell("a resident moves in: card, permit, consent, face")
        manager = self._clients["manager"]
        person = f"/api/v1/people/{self.resident_id}"
        await self._checked(
            manager.post("/api/v1/people", json={"id": self.resident_id, "name": "演示住户", "site_id": "demo"})
        )
        await self._checked(manager.post(f"{person}/permits", json={"doors": list(DOORS)}))
        await self._checked(manager.post(f"{person}/credentials", json={"kind": "card", "value": self.card}))
        consent = {
            "purpose": "door_face", "text_version": CONSENT_TEXT, "channel": "demo",
            "evidence": "simulated", "doors": ["gate"],
        }  # fmt: skip
        self._consent_id = str((await self._checked(manager.post(f"{person}/consents", json=consent)))["id"])
        at_door = self.files.liveness != "none"
        if at_door:
            await self._enrol_at_the_gate(person)
        kind = {"Content-Type": "image/jpeg"}
        for number, name in enumerate(RESIDENT_PHOTOS):
            photo, more = self._portraits[name].read_bytes(), {"add": at_door or number > 0}
            await self._checked(manager.put(f"{person}/face", content=photo, params=more, headers=kind, timeout=60))

    async def _enrol_at_the_gate(self, person: str) -> None:
        """Let the resident turn the head before the gate's camera until the pictures are taken, as the office would."""
        manager, path, told = self._clients["manager"], "", {"state": "waiting"}
        for _ in range(SITTINGS):
            gone_at = await self._comes("head", RESIDENT_AT_DOOR, seed=ENROLLED_SEED) + VISIT["stay_s"]
            if not path:
                order = {"door_id": "gate", "pictures": PICTURES_AT_DOOR}
                ordered = await self._checked(manager.post(f"{person}/face/at-door", json=order))
                path = f"/api/v1/face-enrolments/{ordered['id']}"
            while told["state"] in ("waiting", "running") and time.time() < gone_at:
                await asyncio.sleep(0.3)
                told = await self._checked(manager.get(path))
            if told["state"] not in ("waiting", "running"):
                break
        if told["state"] != "confirmed":
            raise GatehouseError(f"the enrolment at the gate ended as {told}")
        await self.quiet()

    async def _checked(self, request: Any) -> Any:
        response: httpx.Response = await request
        if response.is_error:
            raise GatehouseError(
                f"{response.request.method} {response.url.path}: {response.status_code} {response.text[:500]}"
            )
        return response.json() if response.content else None

    # --- handles ----------------------------------------------------------------------------------------------------

    async def act(self, door: str, act: str) -> dict[str, Any]:
        """Do something at a simulated door."""
        return await self.doors.ask(door=door, act=act)

    async def settled(self, door: str) -> None:
        """Wait until everything that a simulated door reported is acknowledged end to end."""
        await self.doors.ask(door=door, act="wait", until="acked", timeout_s=60, within_s=65)

    async def visit(self, who: Visitor, *, seed: int = 1) -> dict[str, Any]:
        """Let somebody walk up to the gate and press its button; return how the door answered. `seed` varies the way."""
        near_at = await self._comes("print_moved" if who == "photo" else "head", SHOWN[who], seed=seed)
        await asyncio.sleep(max(0.0, near_at - time.time() - 1.0))
        outcome = await self._ask("gate", "button", timeout_s=14.0)
        await self.quiet()
        return outcome

    async def _comes(self, scene: str, name: str, *, seed: int) -> float:
        """Let somebody with a portrait walk up to the gate; return when they are near."""
        portrait = str(self._portraits[name])
        asked = {"scene": scene, "portrait": portrait, "seed": seed, "script": VISIT}
        return float((await self.cameras.ask(camera="gate", within_s=60, **asked))["near_at"])

    async def present_card(self, door: str, value: str) -> dict[str, Any]:
        """Present a card at a simulated reader; return how the door answered."""
        return await self._ask(door, "card", value=value, timeout_s=5.0)

    async def _ask(self, door: str, act: str, *, timeout_s: float, value: str | None = None) -> dict[str, Any]:
        answer = await self.doors.ask(door=door, act=act, value=value, timeout_s=timeout_s, within_s=timeout_s + 5)
        outcome = "unlocked" if answer.get("unlocked") else "denied" if answer.get("feedback") else "silence"
        return {
            "outcome": outcome,
            "attempt": answer.get("request"),
            "reason": answer.get("feedback"),
            "ms": answer.get("ms"),
        }

    async def present_card_eventually(self, door: str, value: str) -> dict[str, Any]:
        """Present a card again and again for 30 s until the door opens: requests are never queued."""

        async def opened() -> dict[str, Any] | None:
            answer = await self.present_card(door, value)
            return answer if answer["outcome"] == "unlocked" else None

        found: dict[str, Any] = await until(opened, what="a card that opens", within_s=30, every_s=0.5)
        return found

    async def quiet(self) -> None:
        """Clear the pictures of both cameras."""
        for camera in CAMERAS:
            await self.cameras.ask(camera=camera, scene="quiet")

    async def calm(self, door: str, alert_id: str) -> None:
        """Close a door and resolve its alert, so that the next one is new."""
        mark = self.ear.mark()
        await self.act(door, "close")
        await self.ear.hear(
            "alert", lambda a: a["id"] == alert_id and a["condition"] == "cleared", since=0, within_s=30
        )
        answer = {"disposition": "drill", "note": "rehearsal"}
        await self._checked(self._clients["operator"].post(f"/api/v1/alerts/{alert_id}/resolve", json=answer))
        await self.ear.hear(
            "alert", lambda a: a["id"] == alert_id and a["workflow"] == "resolved", since=mark, within_s=30
        )

    async def facts(self, door: str, kind: str) -> list[dict[str, Any]]:
        """Return the gateway's facts of a kind at a door, all pages."""
        found: list[dict[str, Any]] = []
        query: dict[str, Any] = {"source_id": door, "type": kind, "limit": 500}
        while True:
            page = await self._checked(self._clients["manager"].get("/api/v1/facts", params=query))
            found += page["items"]
            if not page.get("next"):
                return found
            query["cursor"] = page["next"]

    async def fact(self, door: str, kind: str, *, attempt: str) -> dict[str, Any]:
        """Return the fact about one attempt, as soon as the gateway has it."""

        async def found() -> dict[str, Any] | None:
            return next((f for f in await self.facts(door, kind) if f.get("attempt") == attempt), None)

        result: dict[str, Any] = await until(found, what=f"{kind} of attempt {attempt} at the gateway", within_s=10)
        return result

    async def centre_received(self) -> list[dict[str, Any]]:
        """Return what the simulated centre accepted, in order: event, verified, received_mono."""
        items: list[dict[str, Any]] = (await self._checked(self._centre.get("/received")))["items"]
        return items

    async def centre_event(self, alert_id: str, change: str, *, within_s: float = 15) -> dict[str, Any]:
        """Return the centre's copy of one change of an alert, as soon as it has it."""

        async def found() -> dict[str, Any] | None:
            rows = await self.centre_received()
            of_alert = (r for r in rows if r["event"].get("subject") == alert_id)
            return next((r for r in of_alert if f".{change}." in r["event"]["type"]), None)

        wait = {"what": f"{change} of alert {alert_id} at the centre", "within_s": within_s, "every_s": 0.02}
        result: dict[str, Any] = await until(found, **wait)  # type: ignore[arg-type]
        return result

    async def centre_fault(self, fault: str | None) -> None:
        """Make the simulated centre misbehave, or behave again."""
        await self._checked(self._centre.post("/control", json={"fault": fault}))

    async def send_receipt(self, alert_id: str, state: str) -> None:
        """Let the simulated centre push a signed receipt."""
        receipt = {
            "alert_id": alert_id,
            "state": state,
            "reference": "DEMO-1",
            "url": f"{self.url}/api/v1/centre/receipts",
        }
        await self._checked(self._centre.post("/send-receipt", json=receipt))

    async def receipts(self, alert_id: str) -> list[dict[str, Any]]:
        """Return the receipts shown on an alert."""
        alert = await self._checked(self._clients["operator"].get(f"/api/v1/alerts/{alert_id}"))
        return list(alert["receipts"])

    async def withdraw_consent(self) -> None:
        """Withdraw the resident's consent, as the manager does for her at the office."""
        path = f"/api/v1/people/{self.resident_id}/consents/{self._consent_id}"
        await self._checked(self._clients["manager"].delete(path))

    async def template_erased(self) -> bool:
        """Return whether the gateway has been told that no edge holds the template any more."""
        person = await self._checked(self._clients["manager"].get(f"/api/v1/people/{self.resident_id}"))
        return not person["faces"]

    async def vision_ready(self) -> None:
        """Wait until both cameras are live and the face process is ready."""

        async def live() -> bool:
            cameras = (await self._checked(self._clients["operator"].get("/api/v1/cameras")))["items"]
            return {c["id"] for c in cameras if c["state"] == "live"} >= set(CAMERAS)

        await until(live, what="both cameras live on the console", within_s=60)

    def kill(self, *words: str) -> None:
        """Kill (SIGKILL) the one process of the system whose command line has these words."""
        self._tell(f"kill -9 {' '.join(words)}")
        kill_descendant(self.up_pid, *words)
