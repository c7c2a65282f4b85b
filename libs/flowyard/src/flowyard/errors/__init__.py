"""The one error tree. `base` has its root: a class knows its stable code, title and HTTP status, and a surface (HTTP,
command line, log) shows any of them without knowing which.

    FlowyardError
    ├── requests: a caller's request is wrong, or not allowed
    │   ├── InvalidRequest, InvalidInputs, InvalidDocument, TooLarge (TooDense)
    │   ├── BadHttp, HeadTooLarge, RequestTooSlow, WrongMethod
    │   ├── NotFound: UnknownWorkflow, UnknownRevision, UnknownRun, UnknownStep, UnknownOutput, UnknownAgent,
    │   │   UnknownKey, UnknownTrigger, UnknownDelivery, UnknownHook, UnknownNotification, UnknownReceiver,
    │   │   UnknownSession, UnknownModel, UnknownResponse
    │   ├── UnknownPreviousResponse
    │   ├── Unauthorized (ExpiredKey), TooManyWrongKeys, Forbidden, NotForKey, TooManyRequests, KeyIsOver
    │   └── IllegalMove, WorkflowInUse, PathTaken, AgentTaken, IdempotencyMismatch, QueueFull, TooManyStreams, TooBusy,
    │       ReceiverDisabled, SessionBusy
    ├── steps: what a step fails with
    │   ├── StepError
    │   │   ├── ModelError: ProviderError (ModelNeverRan), RateLimited, ModelTimeout,
    │   │   │   ModelRefused (JsonFormRefused, ContentRefused),
    │   │   │   UnusableReply: ReplyCutOff, ReplyRefused, ReplyFiltered, NoJson
    │   │   ├── CodeError: CodeTimeout, CodeOutOfMemory, CodeCrashed, SandboxUnavailable
    │   │   └── InvalidOutput, EvaluationError, ToolError, TooManyToolRounds, AssertionFailed, StepTimeout
    │   ├── BudgetExceeded: LimitReached, UnpricedModel
    │   ├── OutputsTooLarge, StateTooLarge
    │   └── MissingApiKey (InvalidApiKey, VariableNotAllowed), ModelNotInstalled
    ├── runs: ClaimLost, CommitRefused, ReplayMismatch, SecretsNotConfigured, UnreadableSecret
    ├── services: Unavailable (DiskFull), ShuttingDown, TooManyConnections, WrongDatabase, UnknownSchema,
    │             ReplaysStopped, CannotListen
    ├── outbound: OutboundError: OutboundInvalid, AddressRefused, RedirectRefused, HostUnreachable, AnswerBroken,
    │             AnswerTooLarge, OutboundTimeout
    ├── webhooks: Unverified, UnusableWebhookSecret, HookNotReady, TriggerPaused, TooManyDeliveries, NotMapped,
    │             PayloadNotKept, MissingWebhookSecret
    ├── export.client: TargetUnavailable, ExportRefused
    ├── api.refusals: Refused, Unreachable, Unintelligible: what a client of the API meets
    └── of one package, next to their use: flowyard_embedded.faults, flowyard_cli, flowyard.web.pages

Exceptions that only steer the control flow of a run, and never reach a person, are not in the tree:

    steps.budget_gate.Draining      a call still waited for its budget when the executor began to drain
    graph.walk.NodeFailed           carries a step's failure out of LangGraph
    graph.maps.ItemFailed           an item of a map has failed, and with it the run
    graph.run._RunTimeout           the run's own time is over
    durable.recorder.HandBack       the run stops here, to go on in another claim
"""
