"""What a workspace holds, as one HTML file that opens anywhere and asks for nothing."""
