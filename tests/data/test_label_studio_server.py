"""The way through a real Label Studio and back.

Label Studio is not a dependency. In an environment of its own:

    pip install label-studio
    label-studio start --no-browser --port 8123 --username a@example.org --password secret12345

Then set GMNER_LABEL_STUDIO=http://127.0.0.1:8123 and run pytest with this file. Without it, the test is skipped. The
user and the password are those of the command above.
"""

import json
import os
from dataclasses import replace
from typing import Any

import httpx
import pytest
from PIL import Image

import gmner
from gmner.data.export.label_studio import has_several
from gmner.data.readers.labels import labels_of

URL = os.environ.get("GMNER_LABEL_STUDIO")
USER = {"email": "a@example.org", "password": "secret12345"}
# Texts at which offsets or markup could break.
TEXTS = ("👩‍🚀 Ana 🎉 met Ana", "<b>Ana</b> &amp; Ana", "שלום Ana", "line one\nAna", "é Ana  Ana ", "Ana")


@pytest.fixture
def server() -> httpx.Client:
    if URL is None:
        pytest.skip("GMNER_LABEL_STUDIO does not name a server")
    with httpx.Client(base_url=URL, timeout=120, follow_redirects=True) as client:
        client.get("/user/login/")
        sent = {**USER, "csrfmiddlewaretoken": client.cookies["csrftoken"]}
        client.post("/user/login/", data=sent)
        client.headers["X-CSRFToken"] = client.cookies["csrftoken"]
        yield client


def call(client: httpx.Client, method: str, path: str, **options: Any) -> Any:
    response = client.request(method, path, **options)
    assert response.is_success, response.text
    return response.json() if response.content else None


def corpus() -> list[gmner.Post]:
    """Posts of the world, and difficult texts with boxes that are no whole numbers."""
    box = gmner.Box(0.1, 1 / 3, 33.3, 47.9)
    found = []
    for number, text in enumerate(TEXTS):
        start = text.rindex("Ana")
        entity = gmner.GoldEntity("Ana", start, start + 3, "PER", (box, replace(box, x1=20.0)))
        found.append(gmner.Post(f"text-{number}", text, Image.new("RGB", (64, 48)), (entity,), slice="shown"))
    return [*gmner.World().posts("dev", 20), *found]


def submitted(server: httpx.Client, posts: list[gmner.Post]) -> tuple[int, list[dict[str, Any]]]:
    """A new project in which every pre-annotation was submitted as it is, and its tasks."""
    config = gmner.label_studio_config(labels_of(posts), several=has_several(posts))
    project = call(server, "POST", "/api/projects/", json={"title": "gmner", "label_config": config})["id"]
    tasks = gmner.to_label_studio(posts, image_url="https://example.org/")
    call(server, "POST", f"/api/projects/{project}/import", json=tasks)
    found = call(server, "GET", f"/api/tasks?project={project}&fields=all&page_size=500")["tasks"]
    assert len(found) == len(posts)
    for task in found:
        (prediction,) = task["predictions"]
        body = {"result": prediction["result"], "parent_prediction": prediction["id"]}
        call(server, "POST", f"/api/tasks/{task['id']}/annotations/", json=body)
    return project, found


@pytest.mark.e2e
@pytest.mark.enable_socket
def test_nothing_is_lost_of_posts_with_several_images(server: httpx.Client):
    first, second = Image.new("RGB", (64, 48)), Image.new("RGB", (30, 90))
    boxes = (gmner.Box(0.1, 1 / 3, 33.3, 47.9), gmner.Box(1, 2, 29.9, 89.9, picture=2))
    posts = [
        gmner.Post("two", "Ana met Bo", first, (gmner.GoldEntity("Ana", 0, 3, "PER", boxes),), more_images=(second,)),
        gmner.Post("one", "Ana", first, (gmner.GoldEntity("Ana", 0, 3, "PER", boxes[:1]),)),
        gmner.Post("none", "Ana", entities=(gmner.GoldEntity("Ana", 0, 3, "PER"),)),
    ]
    project, _ = submitted(server, posts)
    try:
        assert exported(server, project, posts) == posts
    finally:
        call(server, "DELETE", f"/api/projects/{project}/")


@pytest.mark.e2e
@pytest.mark.enable_socket
def test_nothing_is_lost_by_a_real_server(server: httpx.Client):
    posts = corpus()
    project, found = submitted(server, posts)
    try:
        assert exported(server, project, posts) == posts

        # A person changes a type, moves a box, removes a relation, and submits a second annotation.
        task = next(task for task in found if task["data"]["id"] == "text-0")
        result = json.loads(json.dumps(task["predictions"][0]["result"]))
        boxes = [item for item in result if item["type"] == "rectanglelabels"]
        for item in (*boxes, *(item for item in result if item["type"] == "labels")):
            item["value"]["labels" if item["type"] == "labels" else "rectanglelabels"] = ["ORG"]
        boxes[0]["value"] |= {"x": 50.0, "y": 50.0, "width": 25.0, "height": 25.0}
        result.remove(next(item for item in result if item.get("from_id") == boxes[1]["id"]))
        call(server, "POST", f"/api/tasks/{task['id']}/annotations/", json={"result": result})
        back = exported(server, project, posts)
        corrected = next(post for post in back if post.id == "text-0")
        assert [(e.type, e.boxes) for e in corrected.gold] == [("ORG", (gmner.Box(32.0, 24.0, 48.0, 36.0),))]
        kinds = [oddity.kind for oddity in back.oddities if oddity.post == "text-0"]
        assert kinds == ["several_annotations", "box_without_mention"]
        assert [post for post in back if post.id != "text-0"] == [post for post in posts if post.id != "text-0"]
    finally:
        call(server, "DELETE", f"/api/projects/{project}/")


def exported(server: httpx.Client, project: int, posts: list[gmner.Post]) -> gmner.Posts:
    tasks = call(server, "GET", f"/api/projects/{project}/export?exportType=JSON")
    order = {post.id: number for number, post in enumerate(posts)}
    return gmner.from_label_studio(sorted(tasks, key=lambda task: order[task["data"]["id"]]), posts)
