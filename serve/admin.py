"""The routes behind the admin key, and the page to review the response set, which asks for that key.

They are functions, not methods of the replica as in `serve.app`: each gets the replica that runs it.
"""

import asyncio
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, HTTPException, Query
from fastapi.responses import FileResponse
from ray import serve as ray_serve

from serve.changes import write_change
from serve.config import ServeConfig
from serve.gate import StrictJson
from serve.pages import page
from serve.responder import Responder
from serve.review import Review, similar_responses
from serve.schemas import (
    ChangeAnswer,
    ChangeRequest,
    ListRequest,
    ReloadAnswer,
    ReloadRequest,
    ResponseList,
    SimilarList,
    VersionList,
)
from serve.versions import check_version, make_current, versions

router = APIRouter(route_class=StrictJson)

_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"description": "There is no such response."}}


class Replica(Protocol):
    """The parts of `serve.app.ResponderReplica` that these routes use."""

    config: ServeConfig
    responder: Responder
    review: Review
    pinned: str | None

    async def load(self, version: str) -> None:
        """Serve a version from now on."""

    async def everywhere(self, method: str, *arguments: Any) -> int:
        """Call a method of every replica; return the number of successes."""


def current_replica() -> Any:
    """The replica of this process."""
    return ray_serve.get_replica_context().servable_object


CurrentReplica = Annotated[Replica, Depends(current_replica)]


@router.get("/review", include_in_schema=False)
async def review_page() -> FileResponse:
    """The page to review the response set."""
    return page("review.html")


@router.get("/admin/versions")
async def list_versions(replica: CurrentReplica) -> VersionList:
    """List the versions that can be served."""
    names = await asyncio.to_thread(versions, replica.config.run)
    return VersionList(served=replica.responder.version, versions=names)


@router.post("/admin/reload", responses={409: {"description": "The version cannot be loaded."}})
async def reload(replica: CurrentReplica, request: ReloadRequest) -> ReloadAnswer:
    """Load a version in every replica; 409, and the old one stays, where it cannot be loaded."""
    if replica.pinned is not None:
        raise HTTPException(409, f"the deployment's user_config names the version {replica.pinned!r}")

    run = replica.config.run
    try:
        version = await asyncio.to_thread(check_version, run, request.version)
        await replica.load(version)
    except ValueError as error:
        raise HTTPException(409, str(error)) from error

    await asyncio.to_thread(make_current, run, version)
    return ReloadAnswer(version=version, replicas=await replica.everywhere("load", version))


@router.get("/admin/responses")
async def list_responses(replica: CurrentReplica, request: Annotated[ListRequest, Query()]) -> ResponseList:
    """List responses by text, source, teacher, state and flag, withdrawn ones included."""
    return await asyncio.to_thread(replica.review.list_responses, replica.responder, request)


@router.get("/admin/responses/{response_id}/similar", responses=_UNKNOWN)
async def list_similar(replica: CurrentReplica, response_id: str) -> SimilarList:
    """List the near copies of a response, then the most similar ones, withdrawn ones included."""
    responder = replica.responder
    text = responder.text_of(response_id)
    if text is None:
        raise HTTPException(404, f"unknown response {response_id!r}")
    return await asyncio.to_thread(similar_responses, responder, response_id, text)


@router.post("/admin/responses", responses=_UNKNOWN)
async def change_responses(replica: CurrentReplica, request: ChangeRequest) -> ChangeAnswer:
    """Add, withdraw, restore and approve single responses in every replica, for good."""
    for field, ids in request.ids().items():
        for response_id in ids:
            if replica.responder.text_of(response_id) is None:
                raise HTTPException(404, f"{field}: unknown response {response_id!r}")

    await asyncio.to_thread(write_change, replica.config.run, request.add, **request.ids())
    replicas = await replica.everywhere("take_changes")
    return ChangeAnswer(responses=replica.responder.num_responses, replicas=replicas)
