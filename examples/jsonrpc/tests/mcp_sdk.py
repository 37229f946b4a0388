"""The official Python SDK: `client COMMAND...` or `server`."""

import sys

import anyio
from mcp import ClientSession, StdioServerParameters, stdio_client
from mcp.server.mcpserver import MCPServer


async def client(command):
    server = StdioServerParameters(command=command[0], args=command[1:])
    async with stdio_client(server) as (reader, writer), ClientSession(reader, writer) as session:
        await session.initialize()
        tools = await session.list_tools()
        assert [tool.name for tool in tools.tools] == ["echo"], tools

        async def echo(text):
            answer = await session.call_tool("echo", {"text": text})
            assert answer.content[0].text == text, answer

        await echo("a\r\nb\u2028\u00fc\U0001f600\0")
        await echo("x" * 1_000_000)
        async with anyio.create_task_group() as group:
            for i in range(100):
                group.start_soon(echo, str(i) * 1000)
        try:
            await session.call_tool("echo", {"text": "x" * (17 << 20)})
        except Exception as error:
            assert "longer than 16777216 bytes" in str(error), error
        else:
            raise AssertionError("too long, and taken")
        await echo("all the same")
    print("good")


server = MCPServer("peer")


@server.tool()
def echo(text: str) -> str:
    return text


if sys.argv[1] == "client":
    anyio.run(client, sys.argv[2:])
else:
    server.run()
