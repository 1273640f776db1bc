"""Operations on single images: write one in one call, change metadata and channels."""
