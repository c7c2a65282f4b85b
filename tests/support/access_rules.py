"""Each route of each service: who may call it, and what it is about. A new route needs a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# method, path, the scope that it needs (or `open`), and what it is about.
OF_ALL = """
GET    /health/live                               open   -
GET    /health/ready                              open   -
GET    /metrics                                   read   installation
GET    /openapi.json                              read   nothing
"""
OF_REGISTRY = """
GET    /v1/workflows                              read   own
PUT    /v1/workflows/{name}                       write  workflow
GET    /v1/workflows/{name}                       read   workflow
DELETE /v1/workflows/{name}                       write  workflow
GET    /v1/workflows/{name}/revisions             read   workflow
GET    /v1/workflows/{name}/revisions/{number}    read   workflow
GET    /v1/workflows/{name}/diff                  read   workflow
POST   /v1/workflows/{name}/rollback              write  workflow
POST   /v1/drafts                                 read   nothing
POST   /v1/validate                               read   nothing
GET    /v1/schema                                 read   nothing
GET    /v1/agents                                 read   installation
POST   /v1/agents                                 run    installation
GET    /v1/agents/{agent_id}                      read   installation
DELETE /v1/agents/{agent_id}                      admin  installation
POST   /v1/agents/{agent_id}/heartbeat            run    installation
GET    /v1/triggers                               read   installation
GET    /v1/triggers/{workflow}/{name}             read   workflow
POST   /v1/triggers/{workflow}/{name}/pause       write  workflow
POST   /v1/triggers/{workflow}/{name}/resume      write  workflow
POST   /v1/triggers/{workflow}/{name}/backfill    run    workflow
GET    /v1/notifications                          read   installation
GET    /v1/notifications/{notification}           read   installation
POST   /v1/notifications/{notification}/replay    run    installation
GET    /v1/receivers                              read   installation
GET    /v1/receivers/{receiver}                   read   installation
POST   /v1/receivers/{receiver}/enable            run    installation
POST   /v1/receivers/{receiver}/replay            run    installation
GET    /asyncapi.json                             read   installation
"""
OF_GATEWAY = """
POST   /v1/workflows/{name}/runs                  run    workflow
GET    /v1/runs                                   read   own
POST   /v1/runs/cancel                            run    own
GET    /v1/runs/{run_id}                          read   run
GET    /v1/runs/{run_id}/events                   read   run
GET    /v1/runs/{run_id}/outputs                  read   run
GET    /v1/runs/{run_id}/steps                    read   run
GET    /v1/runs/{run_id}/calls                    read   run
GET    /v1/runs/{run_id}/profile                  read   run
POST   /v1/runs/{run_id}/cancel                   run    run
POST   /v1/runs/{run_id}/retry                    run    run
POST   /v1/runs/{run_id}/fork                     run    run
POST   /v1/runs/{run_id}/fork/preview             run    run
GET    /v1/keys                                   admin  installation
POST   /v1/keys                                   admin  installation
POST   /v1/keys/{key_id}/rotate                   admin  installation
DELETE /v1/keys/{key_id}                          admin  installation
GET    /v1/audit                                  admin  installation
GET    /v1/deliveries                             read   installation
GET    /v1/deliveries/{delivery_id}               read   delivery
POST   /v1/deliveries/{delivery_id}/replay        run    delivery
GET    /v1/models                                 read   own
GET    /v1/models/{model}                         read   own
POST   /v1/chat/completions                       run    own
POST   /v1/responses                              run    own
GET    /v1/responses/{response}                   read   own
POST   /v1/responses/{action}                     run    own
POST   /mcp                                       read   own
GET    /v1/chat/sessions                          read   own
GET    /v1/chat/sessions/{session}                read   own
GET    /v1/chat/sessions/{session}/turns          read   own
PATCH  /v1/chat/sessions/{session}                run    own
DELETE /v1/chat/sessions/{session}                run    own
GET    /chat                                      read   own
GET    /chat/                                     read   own
GET    /chat/login                                open   -
POST   /chat/login                                open   -
POST   /chat/logout                               read   nothing
GET    /chat/static/{digest}/{name}               open   -
GET    /chat/w/{workflow}                         read   workflow
POST   /chat/w/{workflow}                         run    workflow
GET    /chat/c/{session}                          read   own
POST   /chat/c/{session}                          run    own
POST   /chat/c/{session}/title                    run    own
POST   /chat/c/{session}/delete                   run    own
GET    /chat/c/{session}/export.{form}            read   own
GET    /chat/c/{session}/{number}/stream          read   own
GET    /chat/c/{session}/{number}/steps           read   own
POST   /chat/c/{session}/{number}/edit            run    own
POST   /chat/c/{session}/{number}/again           run    own
POST   /chat/c/{session}/{number}/stop            run    own
GET    /chat/c/{session}/{number}/draft           read   own
GET    /chat/c/{session}/{number}/document.yaml   read   own
POST   /chat/c/{session}/{number}/apply           write  own
POST   /chat/c/{session}/{number}/go-on           run    own
GET    /hooks/{path:path}                         open   -
POST   /hooks/{path:path}                         open   -
GET    /v1/costs                                  read   own
GET    /v1/profiles                               read   own
GET    /v1/status                                 read   installation
"""
OF_DASHBOARD = """
GET    /                                          read   nothing
GET    /login                                     open   -
POST   /login                                     open   -
POST   /logout                                    read   nothing
GET    /static/{digest}/{name}                    open   -
GET    /mlflow                                    read   installation
GET    /receivers                                 read   installation
GET    /workflows                                 read   own
GET    /workflows/live                            read   own
GET    /workflows/{name}                          read   workflow
GET    /workflows/{name}/live                     read   workflow
POST   /workflows/{name}/runs                     run    workflow
GET    /runs                                      read   own
GET    /runs/live                                 read   own
GET    /runs/{run_id}                             read   run
GET    /runs/{run_id}/live                        read   run
GET    /runs/{run_id}/calls/{seq}                 read   run
GET    /runs/{run_id}/outputs                     read   run
POST   /runs/{run_id}/cancel                      run    run
POST   /runs/{run_id}/retry                       run    run
POST   /runs/{run_id}/fork                        run    run
"""
TABLES: Final[Mapping[str, str]] = {
    "gateway": OF_ALL + OF_REGISTRY + OF_GATEWAY,
    "registry": OF_ALL + OF_REGISTRY,
    "executor": OF_ALL,
    "dashboard": OF_ALL + OF_DASHBOARD,
}
