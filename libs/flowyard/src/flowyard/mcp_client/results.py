"""What a call of a server's tool has come to, as a value of JSON."""

from __future__ import annotations

from typing import Any

import mcp_types as mcp

from flowyard.tools.tool import ToolFailed


def result_value(result: mcp.CallToolResult) -> Any:
    """Texts: the text. Structured content beside texts, which repeat it: that. Anything else: an object with
    `structured`, if there is any, and `content`, a list of blocks. Raises ToolFailed for an error of the server's.
    """
    texts = [block.text for block in result.content if isinstance(block, mcp.TextContent)]
    text, is_text = "\n".join(texts), len(texts) == len(result.content)
    if result.is_error:
        raise ToolFailed(text or "the tool has failed, and says nothing more")
    if is_text:
        return result.structured_content if result.structured_content is not None else text
    value: dict[str, Any] = {"content": [_block(block) for block in result.content]}
    if result.structured_content is not None:
        value["structured"] = result.structured_content
    return value


def _block(block: mcp.ContentBlock) -> dict[str, Any]:
    match block:
        case mcp.TextContent():
            return {"type": "text", "text": block.text}
        case mcp.ImageContent() | mcp.AudioContent():
            return {"type": block.type, "mime_type": block.mime_type, "data": block.data}
        case mcp.EmbeddedResource():
            resource = block.resource
            inside = {"text": resource.text} if hasattr(resource, "text") else {"blob": resource.blob}
            return {"type": "resource", "uri": str(resource.uri), "mime_type": resource.mime_type, **inside}
        case mcp.ResourceLink():
            return {"type": "resource_link", "uri": str(block.uri), "name": block.name, "mime_type": block.mime_type}
